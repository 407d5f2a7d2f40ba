"""What of this node's content its peers may have: what is whole, and what is still arriving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from registryd.content.growing import GrowingSource, NotArrived
from registryd.content.source import ContentNotFound, ContentSource, NameSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName

T = TypeVar("T")


class NamedStore(ContentSource, NameSource, Protocol):
    """A store of content and of names."""


class SharedStore:
    """This node's store as peers see it: a ContentSource whose content may be GrowingContent.

    Never for this node's own containerd (see `registryd.content.growing`).
    """

    def __init__(self, whole: NamedStore, growing: GrowingSource) -> None:
        self._whole = whole
        self._growing = growing

    async def find(self, digest: Digest) -> Content:
        return await _first(lambda: self._whole.find(digest), lambda: self._growing.growing(digest))

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await _first(
            lambda: self._whole.open(digest, wanted), lambda: self._growing.open_growing(digest, wanted)
        )

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._whole.resolve(name)


async def _first(whole: Callable[[], Awaitable[T]], growing: Callable[[], Awaitable[T]]) -> T:
    try:
        return await whole()
    except ContentNotFound:
        try:
            return await growing()
        except NotArrived:
            raise
        except ContentNotFound:
            # It may have become whole between the two questions; a third costs microseconds where files are read.
            return await whole()
