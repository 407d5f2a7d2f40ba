"""Content that this node is still receiving, and the contract of reading it while it arrives.

Apart from `ContentSource` on purpose: when containerd asks us for a layer, its own ingest of that layer has begun
already, and a lookup that took it for a source would wait for itself. So the local lookup knows whole content only, and
what grows is for peers (`registryd.content.sharing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from registryd.content.source import Content, ContentNotFound, ContentUnavailable
from registryd.transfer.striping import reach

if TYPE_CHECKING:
    from registryd.content.source import OpenContent, RangeOf
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Began:
    """Which ingest it is: another one of the same content has another file, or began at another time."""

    device: int
    inode: int
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class OngoingIngest:
    """An ingest that is there now, and the bytes that are in it."""

    began: Began
    size: int


class NotArrived(ContentNotFound):
    """The content is on its way here, but not yet the byte that was asked for."""

    def __init__(self, reason: str, *, received: int = 0, is_held_up: bool = False) -> None:
        """`received`: the bytes that have come to the receiving node, as far as it says; so is `is_held_up`."""
        super().__init__(reason)
        self.received = received
        self.is_held_up = is_held_up


@dataclass(frozen=True, slots=True)
class GrowingContent(Content):
    """Content of which the first `available` bytes are here; `size` is what it will have in the end.

    If 0 bytes are available, this node has asked for the content, and no byte has come yet. If all are available, the
    content is whole and not verified yet. Available bytes are believed to be right: the reader verifies them, or leaves
    that to containerd. The `withheld` bytes after them have come and may be wrong (`registryd.transfer.sure`): no node
    gets them until the content is whole and verified. If it `is_held_up`, nothing comes through no fault of this node:
    it waits for another node, or began to get the content elsewhere a moment ago.
    """

    available: int = field()  # hides what Content says of itself
    withheld: int = 0
    is_held_up: bool = field(default=False)

    is_growing: ClassVar[bool] = True

    @property
    def received(self) -> int:
        return self.available + self.withheld


def stripe_of(content: Content, stripe: int, available: int | None = None) -> GrowingContent:
    """A stripe of the content as content of its own, of which `available` bytes are here; None: all."""
    size = reach(stripe, content.size)
    there = size if available is None else available
    is_held_up = content.is_held_up and there < size
    return GrowingContent(
        content.digest, size, content.media_type, there, is_held_up=is_held_up, standing=content.standing
    )


class GrowingSource(Protocol):
    """A store that can give content while it is being received.

    The source keeps and watches nothing for content without a reader, and needs no preparation: containerd begins an
    ingest before it asks any registry for the bytes, and the path of the ingest follows from the digest. The source
    does not offer content whose size is not known in advance, because it could not promise a length.
    """

    async def growing(self, digest: Digest) -> GrowingContent:
        """The part of arriving content that is here; costs one look at a file.

        Raises ContentNotFound for content that is not being received (it may be whole: ask ContentSource),
        StoreUnavailable when this node cannot see that.
        """

    async def begun(self, digest: Digest) -> GrowingContent:
        """As `growing`, also for content that has been silent for long: its receiver may not have its turn yet."""

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Open the bytes that `wanted` names: the body sends what is here, and the rest as it arrives.

        A reader keeps its place while the content becomes whole. When the receiving client gives up, or no byte arrives
        for too long, the body raises SourceBroken within a moment. Raises as `growing` does, RangeInvalid, and
        NotArrived unless the first of the bytes is here. So a reader is always behind its source, and nodes never wait
        for each other in a circle.
        """

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        """Return when more than `beyond` bytes are here; how long to wait is the caller's to say.

        Raises as `growing` does, also when the content is given up meanwhile.
        """

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        """The part of a stripe of arriving content that is here, in bytes of the stripe.

        With `beyond` it waits as `wait_grown` does. Raises as `growing` does.
        """

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        """As `open_growing`; `wanted` and the span are in bytes of the stripe, the content is the whole."""


class Arrivals(Protocol):
    """The content that this node is receiving itself (`registryd.content.sharing.Receiving` knows)."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        """The content that has begun to arrive here, and is not whole. Raises ContentUnavailable."""


async def arriving_or_none(own: Arrivals, digest: Digest) -> GrowingContent | None:
    """The content that has begun to arrive here; None: it has not, is whole, or that cannot be seen."""
    try:
        return await own.arriving(digest)
    except ContentUnavailable:
        return None
