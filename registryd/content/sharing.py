"""The content of this node that peers may have: whole content, and arriving content."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from registryd.aio.expiring import ExpiringSet
from registryd.content.growing import GrowingContent, NotArrived, stripe_of
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.oci.ranges import Span
from registryd.transfer.file import FileBody
from registryd.transfer.growing import WholeStripeBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.content.growing import GrowingSource
    from registryd.content.provenance import NamedStore, Provenance
    from registryd.content.source import Content, NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName

T = TypeVar("T")

# From the last byte of an ingest to content: a rename and a transaction of containerd's database, which syncs its disk.
_SETTLING_SECONDS: Final = (0.01, 0.03, 0.1)
# How long after content was last seen growing its absence is doubted: no look at it is further apart.
_SEEN_SECONDS: Final = 60.0
_SEEN_REMEMBERED: Final = 1000


class SharedStore:
    """This node's store as peers see it: a ContentSource whose content may be GrowingContent.

    Never for this node's own containerd (see `registryd.content.growing`).
    """

    def __init__(self, whole: NamedStore, growing: GrowingSource) -> None:
        self._whole = whole
        self._growing = growing
        self._seen_growing: ExpiringSet[Digest] = ExpiringSet(lifetime=_SEEN_SECONDS, capacity=_SEEN_REMEMBERED)

    async def find(self, digest: Digest) -> Content:
        return await self._look_twice(digest, lambda: self.find_now(digest))

    async def find_now(self, digest: Digest) -> Content:
        """One look; what is between an ingest and content at this moment is not there."""
        return self._seen(await _first(lambda: self._whole.find(digest), lambda: self._growing.growing(digest)))

    async def find_begun(self, digest: Digest) -> Content:
        """One look; also at content of which nothing has come for long.

        The ingest comes first: what it has become since then is whole, so that one question about each is enough.
        """
        try:
            growing = await self._growing.begun(digest)
        except ContentNotFound:
            return self._seen(await self._whole.find(digest))
        except ContentUnavailable as reason:
            try:
                return self._seen(await self._whole.find(digest))
            except ContentNotFound:
                raise reason from None
        try:
            return self._seen(await self._whole.find(digest))
        except ContentNotFound:
            return self._seen(growing)

    async def arriving(self, digest: Digest) -> GrowingContent:
        """One look at content of which not all is here; raises ContentNotFound for all other.

        The ingest comes first: of what is whole there is none, and then the store need not be asked.
        """
        growing = await self._growing.begun(digest)
        try:
            await self._whole.find(digest)
        except ContentNotFound:
            self._seen_growing.add(digest)
            return growing
        raise ContentNotFound("all of it is here")

    def _seen(self, content: Content) -> Content:
        if content.is_growing:
            self._seen_growing.add(content.digest)
        else:
            self._seen_growing.discard(content.digest)
        return content

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        async def open_now() -> OpenContent:
            return await _first(
                lambda: self._whole.open(digest, wanted), lambda: self._growing.open_growing(digest, wanted)
            )

        return await self._look_twice(digest, open_now)

    async def stripe(self, content: Content, stripe: int) -> GrowingContent:
        """A stripe of content that `find` gave."""
        if not content.is_growing:
            return stripe_of(content, stripe)
        try:
            part = await self._growing.growing_stripe(content.digest, stripe)
        except ContentNotFound:
            part = stripe_of(await self._whole.find(content.digest), stripe)
        return replace(part, standing=content.standing)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        """The bytes of a stripe; `wanted` and the span are in bytes of the stripe, the content is the whole.

        Raises NotArrived unless the first of them is here, ContentUnavailable.
        """

        async def open_whole() -> OpenContent:
            opened = await self._whole.open(digest, Span.whole)
            if not isinstance(opened.body, FileBody):
                await opened.body.aclose()
                raise ContentUnavailable("it can only be had as a whole")
            try:
                span = wanted(stripe_of(opened.content, stripe).size)
            except BaseException:
                await opened.body.aclose()
                raise
            return OpenContent(
                opened.content, span, WholeStripeBody(opened.body, stripe, span, size=opened.content.size)
            )

        return await self._look_twice(
            digest, lambda: _first(open_whole, lambda: self._growing.open_stripe(digest, stripe, wanted))
        )

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._whole.resolve(name)

    async def provenance(self, content: Content) -> Provenance:
        return await self._whole.provenance(content)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return self._whole.namers(digest)

    async def _look_twice(self, digest: Digest, look: Callable[[], Awaitable[T]]) -> T:
        """Containerd ends an ingest before it has the content; in between, for milliseconds, it is neither."""
        for pause in _SETTLING_SECONDS if digest in self._seen_growing else ():
            try:
                return await look()
            except NotArrived:
                raise
            except ContentNotFound:
                await asyncio.sleep(pause)
        try:
            return await look()
        except ContentNotFound:
            self._seen_growing.discard(digest)  # it was given up
            raise


class Receiving:
    """The content that this node itself is receiving, or has: the agent asks before each pull.

    It answers at once, while a peer may be answered a moment later: a HEAD of an image that had just been removed took
    0.14 s.
    """

    def __init__(self, shared: SharedStore) -> None:
        self._shared = shared

    async def find(self, digest: Digest) -> Content:
        return await self._shared.find_begun(digest)

    async def arriving(self, digest: Digest) -> GrowingContent:
        """The arriving content, not whole yet. Raises ContentUnavailable; costs a look at a file or two."""
        return await self._shared.arriving(digest)

    async def find_moving(self, digest: Digest) -> Content:
        """The same, but nothing of which nothing has come for long."""
        return await self._shared.find_now(digest)


async def _first(whole: Callable[[], Awaitable[T]], growing: Callable[[], Awaitable[T]]) -> T:
    try:
        return await whole()
    except ContentNotFound:
        try:
            return await growing()
        except NotArrived:
            raise
        except ContentNotFound:
            # The content may have become whole between the two questions; a third costs microseconds where files are
            # read.
            return await whole()
