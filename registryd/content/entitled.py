"""This node's content as it is given to others, and to its own containerd: for names only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from registryd.content.growing import stripe_of
from registryd.content.source import ContentNotFound, NotForName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.content.entitlement import Entitlement
    from registryd.content.growing import GrowingContent
    from registryd.content.provenance import NamedStore, Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName


@runtime_checkable
class StripedStore(Protocol):
    """A store that gives stripes of its content, too (`registryd.content.sharing.SharedStore`)."""

    async def stripe(self, content: Content, stripe: int) -> GrowingContent:
        """A stripe of this content. Raises ContentUnavailable."""

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        """Its bytes; the content is the whole. Raises ContentUnavailable, RangeInvalid."""


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
        """The content, or the stripe of it that is sought."""
        content = await self._find(sought)
        return content if sought.stripe is None else await self._striped.stripe(content, sought.stripe)

    async def _find(self, sought: Sought) -> Content:
        return await self.entitled(sought, await self._store.find(sought.digest))

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        try:
            content = await self._find(sought)
            if sought.stripe is None:
                opened = await self._store.open(sought.digest, wanted)
            else:
                opened = await self._striped.open_stripe(sought.digest, sought.stripe, wanted)
        except ContentNotFound:
            self._missed(sought)
            raise
        if not opened.content.is_growing:
            return self._given(sought, opened, replace(opened.content, standing=content.standing))
        try:
            # The content of the question may have been given up, and this may be the content of another name.
            return self._given(sought, opened, await self.entitled(sought, opened.content))
        except BaseException:
            await opened.body.aclose()
            raise

    def _given(self, sought: Sought, opened: OpenContent, content: Content) -> OpenContent:
        if sought.stripe is not None:
            content = stripe_of(content, sought.stripe, opened.span.start + 1)
        return replace(opened, content=content)

    @property
    def _striped(self) -> StripedStore:
        if not isinstance(self._store, StripedStore):
            raise ContentNotFound("nothing is given in stripes here")
        return self._store

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
