"""Sources of content and of names: in memory, silent, and out of order."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Never

from registryd.content.growing import stripe_of
from registryd.content.naming import Naming
from registryd.content.provenance import Provenance
from registryd.content.source import Content, ContentNotFound, NamedContent, OpenContent, StoreUnavailable
from registryd.transfer.body import BytesBody
from registryd.transfer.striping import PIECE_BYTES, STRIPES
from tests.fakes.bodies import WitnessedBody

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.content.growing import GrowingContent
    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName
    from registryd.transfer.body import Body
    from tests.fakes.images import SampleImage


class MemorySource:
    """What a test put in, known at once. `make_body` gives the bodies a character; `opened` keeps them all."""

    def __init__(self, *images: SampleImage, make_body: Callable[[bytes], Body] = BytesBody) -> None:
        self._make_body = make_body
        self._contents: dict[Digest, tuple[bytes, str | None]] = {}
        self._names: dict[TaggedName, NamedContent] = {}
        self._is_renamed = asyncio.Event()
        self.opened: list[WitnessedBody] = []
        self.asked: list[Digest] = []
        self.owners: dict[Digest, set[Repository]] = {}
        for image in images:
            self.add_image(image)

    def add_image(self, image: SampleImage, *, seen_at: float | None = None) -> None:
        for digest, data in image.blobs.items():
            self.add(digest, data, media_type=image.media_types[digest])
        self._names[image.name] = NamedContent(image.target, time.time() if seen_at is None else seen_at)
        self._is_renamed.set()

    def add(self, digest: Digest, data: bytes, *, media_type: str | None = None) -> None:
        """Content as it is, whether or not the digest is its own: that makes a source that lies."""
        self._contents[digest] = (data, media_type)

    def remove(self, digest: Digest) -> None:
        del self._contents[digest]

    def forget(self, name: TaggedName) -> None:
        del self._names[name]
        self._is_renamed.set()

    async def find(self, digest: Digest) -> Content:
        self.asked.append(digest)
        data, media_type = self._get(digest)
        return Content(digest, len(data), media_type)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        self.asked.append(digest)
        data, media_type = self._get(digest)
        span = wanted(len(data))
        body = WitnessedBody(self._make_body(data[span.start : span.stop]))
        self.opened.append(body)
        return OpenContent(Content(digest, len(data), media_type), span, body)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return [self._names[name]] if name in self._names else []

    async def provenance(self, content: Content) -> Provenance:
        """As a test has put it into `owners`; what is not there is nobody's."""
        owners = self.owners.get(content.digest)
        return Provenance(is_nobodys=True) if owners is None else Provenance(frozenset(owners))

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return frozenset()

    async def namings(self) -> Sequence[Naming]:
        return [Naming(name, meaning) for name, meaning in self._names.items()]

    async def wait_renamed(self) -> None:
        await self._is_renamed.wait()
        self._is_renamed.clear()

    @property
    def left_open(self) -> int:
        """How many bodies were handed out and not closed."""
        return sum(not body.is_closed for body in self.opened)

    def _get(self, digest: Digest) -> tuple[bytes, str | None]:
        try:
            return self._contents[digest]
        except KeyError:
            raise ContentNotFound(f"{digest} is not in memory") from None


class StripedSource(MemorySource):
    """The same, in stripes too."""

    async def stripe(self, content: Content, stripe: int) -> GrowingContent:
        return stripe_of(content, stripe)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        self.asked.append(digest)
        data, media_type = self._get(digest)
        part = stripe_bytes(data, stripe)
        span = wanted(len(part))
        body = WitnessedBody(self._make_body(part[span.start : span.stop]))
        self.opened.append(body)
        return OpenContent(Content(digest, len(data), media_type), span, body)


def stripe_bytes(data: bytes, stripe: int) -> bytes:
    """All bytes of that stripe of the content."""
    starts = range(stripe * PIECE_BYTES, len(data), STRIPES * PIECE_BYTES)
    return b"".join(data[start : start + PIECE_BYTES] for start in starts)


class FailingSource:
    """Cannot say: every question raises the same error."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or StoreUnavailable("the fake store is out of order")

    async def find(self, digest: Digest) -> Content:
        raise self._error

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise self._error

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        raise self._error


class SilentSource:
    """Never answers. `asked` is set by the first question, `cancelled` counts those that were given up."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.cancelled = 0

    async def find(self, digest: Digest) -> Content:
        return await self._never()

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._never()

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._never()

    async def _never(self) -> Never:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        raise AssertionError("unreachable: nothing sets the event")
