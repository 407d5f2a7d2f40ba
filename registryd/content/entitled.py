"""This node's content as it is given to others, and to its own containerd: for names only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.content.source import ContentNotFound, NotForName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.content.entitlement import Entitlement
    from registryd.content.provenance import NamedStore, Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.reference import TaggedName


class EntitledStore:
    """An EntitledSource over a store: doors hold this one, and nothing by which they could give content for no name."""

    def __init__(
        self, store: NamedStore, entitlement: Entitlement, *, missed: Callable[[Sought], object] = lambda _: None
    ) -> None:
        """`missed` is told of content that a client wanted and that is not here for that name: a fetch begins."""
        self._store = store
        self._entitlement = entitlement
        self._missed = missed

    async def find(self, sought: Sought) -> Content:
        return await self.entitled(sought, await self._store.find(sought.digest))

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        try:
            content = await self.find(sought)
            opened = await self._store.open(sought.digest, wanted)
        except ContentNotFound:
            self._missed(sought)
            raise
        if not opened.content.is_growing:
            return replace(opened, content=replace(opened.content, standing=content.standing))
        try:
            # The content of the question may have been given up, and this may be the content of another name.
            return replace(opened, content=await self.entitled(sought, opened.content))
        except BaseException:
            await opened.body.aclose()
            raise

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        """The meaning of a tag here; a digest is no secret."""
        return await self._store.resolve(name)

    async def entitled(self, sought: Sought, content: Content, provenance: Provenance | None = None) -> Content:
        """Content of the store, with its standing; of `provenance`, where the store does not know.

        Raises NotForName, StoreUnavailable.
        """
        provenance = provenance or await self._store.provenance(content)
        standing = self._entitlement.standing(sought, content, provenance, self._store.namers)
        if standing is None or not sought.accepts(standing):
            raise NotForName(f"what is here is not known to be {sought.repository or 'anyone'}'s")
        return replace(content, standing=standing)
