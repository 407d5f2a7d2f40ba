"""Where containerd's content is from: what is known of it by labels, names, and requests.

A name of an image that was pulled stands for its target and for nothing else: what the target lists may be another
platform's, or a layer that was unpacked before, and then containerd completes the image without it. A name that was
given by hand (an import, a build, `ctr images tag`) stands for all that has no labels below it as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.content.provenance import Provenance
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.store.containerd.askings import Askings
    from registryd.store.containerd.documents import Documents
    from registryd.store.containerd.images import Images
    from registryd.store.containerd.presence import Presence
    from registryd.store.containerd.source_labels import Sources


class Origins:
    """A ProvenanceSource over what the rest of the store knows."""

    def __init__(self, presence: Presence, images: Images, documents: Documents, askings: Askings) -> None:
        self._presence = presence
        self._images = images
        self._documents = documents
        self._askings = askings

    async def provenance(self, content: Content) -> Provenance:
        if content.is_growing:
            return Provenance(self._askings.of_arriving(content.digest))
        sources = (await self._presence.locate(content.digest)).sources
        told = frozenset(self._labelled(sources)) if sources else self._by_hand(content.digest)
        return Provenance(told | self._images.by.of(content.digest) | self._askings.of_arrived(content.digest))

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return frozenset().union(*(self._images.by.of(above) for above in self._documents.above(digest)))

    def _by_hand(self, digest: Digest) -> frozenset[Repository]:
        if not self._images.by.has_any_by_hand:
            return frozenset()
        return frozenset().union(*(self._images.by.by_hand(above) for above in self._documents.above(digest)))

    def _labelled(self, sources: Sources) -> Iterator[Repository]:
        pulled = frozenset(self._askings.pulled())
        for host, path in sources:
            if (registry := self._registry(host, path, pulled)) is not None:
                try:
                    yield Repository(registry, path)
                except NameInvalid:
                    continue

    def _registry(self, host: str, path: str, pulled: frozenset[Repository]) -> Registry | None:
        """The registry of a label's host: the only known registry of that host, or the one with the path."""
        asked = {each for each in pulled if each.registry.hostname == host}
        known = self._images.by.at(host) | asked
        registries = {each.registry for each in known}
        if len(registries) > 1:
            registries = {each.registry for each in known if each.path == path}
            return registries.pop() if len(registries) == 1 else None
        try:
            return registries.pop() if registries else Registry(f"[{host}]" if ":" in host else host)
        except NameInvalid:
            return None
