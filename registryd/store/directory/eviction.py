"""Making room: the images that were not used for longest go, each as a whole and its manifest first.

A manifest keeps the content to which it refers: content counts as used when anything that leads to it was used. So the
layers of an image go after its manifest and not before, and a layer of two images stays with the image that is used.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.oci.descriptor import INDEX_TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.store.directory.usage import StoredBlob


@dataclass(frozen=True, slots=True)
class Keep:
    """The content that must stay: roots with all that they lead to, content in use, and content used after `newest`."""

    roots: Collection[Digest] = ()
    in_use: Collection[Digest] = ()
    newest: float = field(default=float("inf"))


def choose_evicted(
    blobs: Iterable[StoredBlob], manifests: Mapping[Digest, Manifest], *, need: int, keep: Keep
) -> Sequence[StoredBlob]:
    """The blobs to remove, in order, so that at least `need` bytes are free; none when that cannot be reached."""
    there = {blob.digest: blob for blob in blobs}
    used_at = _effective_uses(there, manifests)
    kept = _reached_from(keep.roots, manifests) | set(keep.in_use)
    candidates = [d for d in there if d not in kept and used_at[d] <= keep.newest]
    candidates.sort(key=lambda digest: (used_at[digest], _rank(digest, manifests), digest))
    chosen, freed = [], 0
    for digest in candidates:
        if freed >= need:
            break
        chosen.append(there[digest])
        freed += there[digest].size
    return chosen if freed >= need else ()


def _effective_uses(there: Mapping[Digest, StoredBlob], manifests: Mapping[Digest, Manifest]) -> dict[Digest, float]:
    used_at = {digest: blob.used_at for digest, blob in there.items()}
    waiting = deque(digest for digest in manifests if digest in there)
    while waiting:
        parent = waiting.popleft()
        for child in manifests[parent].children:
            if used_at.get(child.digest, float("inf")) < used_at[parent]:
                used_at[child.digest] = used_at[parent]
                if child.digest in manifests:
                    waiting.append(child.digest)
    return used_at


def _reached_from(roots: Iterable[Digest], manifests: Mapping[Digest, Manifest]) -> set[Digest]:
    reached: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest not in reached:
            reached.add(digest)
            waiting += [child.digest for child in manifests[digest].children] if digest in manifests else []
    return reached


def _rank(digest: Digest, manifests: Mapping[Digest, Manifest]) -> int:
    """The rank of content: indexes first, then manifests, then the rest. A document goes before what it refers to."""
    manifest = manifests.get(digest)
    if manifest is None:
        return 2
    return 0 if manifest.media_type in INDEX_TYPES else 1
