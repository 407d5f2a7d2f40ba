"""Statements of this node's manifests and indexes about the content to which they refer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from registryd.oci.digest import Digest
from registryd.oci.manifest import is_manifest_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registryd.oci.manifest import Manifest

# About 30 MiB. A kubelet keeps a few hundred images, of ten blobs each.
_MOST_DIGESTS: Final = 100_000
# Documents above content that are looked at: a base layer is in the manifest of every image that is built on it.
_MOST_ABOVE: Final = 1000
_MOST_DISMISSED: Final = 4096


class _Document(NamedTuple):
    media_type: str
    children: tuple[bytes, ...]


class Documents:
    """Media types by digest, from documents that were read; pure memory, bounded.

    Content never changes under its digest, so nothing here becomes wrong; it is only dropped when nothing needs it.
    Keys are the raw bytes of a digest, a third of the memory of a Digest.
    """

    def __init__(self, *, most_digests: int = _MOST_DIGESTS) -> None:
        self._most_digests = most_digests
        self._documents: dict[bytes, _Document] = {}
        self._referred: dict[bytes, str] = {}
        self._parents: dict[bytes, tuple[bytes, ...]] = {}
        self._dismissed: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._documents) + len(self._referred)

    def media_type(self, digest: Digest) -> str | None:
        """A document's own media type; else the one by which a document refers to the content; else None."""
        key = _key(digest)
        document = self._documents.get(key)
        return document.media_type if document else self._referred.get(key)

    def digests(self) -> Iterator[Digest]:
        """Documents, and all that they refer to, whether or not it is here."""
        for key in self._documents.keys() | self._referred.keys():
            yield Digest.of_hash(key)

    def has_seen(self, digest: Digest) -> bool:
        """Whether the content was looked at before, and turned out to be a document or not."""
        key = _key(digest)
        return key in self._documents or key in self._dismissed

    def child_documents(self, digest: Digest) -> Iterator[Digest]:
        """The content that a document refers to as a manifest or an index."""
        document = self._documents.get(_key(digest))
        for child in document.children if document else ():
            if is_manifest_type(self._referred[child]):
                yield Digest.of_hash(child)

    def above(self, digest: Digest) -> Iterator[Digest]:
        """The content, the documents that refer to it, and those that refer to them; a thousand at most."""
        found = {_key(digest): None}
        waiting = list(found)
        while waiting and len(found) < _MOST_ABOVE:
            parents = self._parents.get(waiting.pop(), ())
            waiting += [parent for parent in parents if parent not in found]
            found.update(dict.fromkeys(parents))
        return (Digest.of_hash(key) for key in found)

    def learn(self, digest: Digest, manifest: Manifest) -> None:
        """Take in a document."""
        if len(self) + len(manifest.children) > self._most_digests:
            # Far more than a node has images for. What is asked for will be looked at again.
            self.keep(())
        children = {_key(child.digest): sys.intern(child.media_type) for child in manifest.children}
        self._referred.update(children)
        self._add(_key(digest), _Document(sys.intern(manifest.media_type), tuple(children)))

    def dismiss(self, digest: Digest) -> None:
        """Remember that the content is not a document."""
        if len(self._dismissed) >= _MOST_DISMISSED:
            del self._dismissed[next(iter(self._dismissed))]
        self._dismissed[_key(digest)] = None

    def keep(self, roots: Iterable[Digest]) -> None:
        """Drop everything that is not reachable from these documents."""
        kept: dict[bytes, _Document] = {}
        pending = [_key(root) for root in roots]
        while pending:
            key = pending.pop()
            if key not in kept and (document := self._documents.get(key)):
                kept[key] = document
                pending += document.children
        self._documents, self._parents = {}, {}
        self._referred = {child: self._referred[child] for document in kept.values() for child in document.children}
        for key, document in kept.items():
            self._add(key, document)

    def _add(self, key: bytes, document: _Document) -> None:
        if key not in self._documents:
            for child in document.children:
                self._parents[child] = (*self._parents.get(child, ()), key)
        self._documents[key] = document


def _key(digest: Digest) -> bytes:
    return bytes.fromhex(digest.encoded)
