"""The bytes of a blob from a registry, going on where they were interrupted, at another endpoint if need be."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.backoff import Backoff
from registryd.upstream.errors import SomethingElse, UpstreamBroken, UpstreamFailed, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.caching.upstreams import Upstreams
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository
    from registryd.upstream.answers import BlobStream
    from registryd.upstream.endpoint import Endpoint, Site

# Interruptions in a row: 6 to 8 s with these pauses, a registry's restart or a lost route. After that the waiting
# client is told, and asks again.
_MOST_INTERRUPTIONS: Final = 6
# "In a row" are those with fewer bytes in between: an upstream that breaks each answer after a few bytes would be asked
# hundreds of times a second.
_LEAST_PROGRESS: Final = 64 * 1024
_PAUSES: Final = Backoff(first=0.25, longest=4.0)


class Receipts(Protocol):
    """Is told what comes in."""

    def received(self, count: int) -> None:
        """So many bytes of a blob came from an upstream."""


class BlobFetch:
    """One blob, from byte `start` on; `size` is known once it is open. The caller that opens it closes it."""

    def __init__(  # noqa: PLR0913 - all are named
        self,
        upstreams: Upstreams,
        repository: Repository,
        digest: Digest,
        *,
        observer: Receipts,
        start: int = 0,
        expected: int | None = None,
        is_verified: bool = False,
    ) -> None:
        """`expected`: its size as a manifest has it, for upstreams that do not say it, or send something else.

        `is_verified`: its user verifies it. So it may come from an answer that says to be longer, if no endpoint has a
        better one: containerd takes the content from such an answer if the connection ends where the content does.
        """
        self._upstreams = upstreams
        self.repository = repository
        self._digest = digest
        self._observer = observer
        self.position = start
        """The next byte that comes; what came before is somebody else's."""
        self._held = AsyncExitStack()
        self._stream: BlobStream | None = None
        self._expected = expected
        self._is_verified = is_verified
        self._may_be_longer = False
        self.size = 0
        self.beginning = b""
        """What came with the head, if it is the content's first bytes; it comes again with the chunks."""
        self.is_longer = False
        """Whether the answer says to be longer than the content."""
        self.sites: set[Site] = set()

    async def open(self) -> None:
        """Return when an endpoint gives it. Raises UpstreamFailed."""
        try:
            self._stream = await self._ask()
        except SomethingElse:
            # A page of a proxy in between, which is gone the next moment.
            self._may_be_longer = self._is_verified
            self._stream = await self._ask()
        size = self._stream.size if self._expected is None else self._expected
        if size is None:
            raise UpstreamBroken(f"{self.repository.registry}: does not say how large {self._digest} is")
        self.is_longer = self._stream.size not in {None, size}
        self.size = self._expected = size
        if not self.position:
            with suppress(UpstreamFailed):  # then the chunks begin with another attempt
                self.beginning = await anext(self._stream.chunks, b"")

    async def go_to(self, position: int) -> None:
        """Let the next byte be this one; when it is open at another, that costs the upstream a request."""
        if position != self.position:
            await self.aclose()
            self.position, self.beginning = position, b""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Everything up to the end. Raises UpstreamFailed when it cannot go on."""
        interruptions, reached = 0, self.position
        while self.position < self.size:
            try:
                async with aclosing(self._next_stream()) as stream:
                    async for chunk in stream:
                        yield chunk
            except UpstreamFailed:
                if self.position - reached >= _LEAST_PROGRESS:
                    interruptions, reached = 0, self.position
                interruptions += 1
                if interruptions > _MOST_INTERRUPTIONS:
                    raise
                # At once the first time: a connection that ends is mended by a new one.
                await asyncio.sleep(_PAUSES.delay(interruptions - 1) if interruptions > 1 else 0)

    async def aclose(self) -> None:
        """Let go of the connection; idempotent."""
        self._stream = None
        await self._held.aclose()

    async def _next_stream(self) -> AsyncGenerator[bytes, None]:
        stream, self._stream = self._stream, None
        if stream is None:
            stream = await self._ask()
        unwanted = self.position - stream.start
        beginning, self.beginning = self.beginning, b""
        async for chunk in _joined(beginning, stream.chunks):
            skipped, unwanted = min(unwanted, len(chunk)), max(0, unwanted - len(chunk))
            if wanted := chunk[skipped:][: self.size - self.position]:
                self.position += len(wanted)
                ticket = self._upstreams.allowance.take(len(wanted))
                self._observer.received(len(wanted))
                yield wanted
                await self._upstreams.allowance.wait(ticket)
            if self.position >= self.size:
                return
        if self.position < self.size:
            raise UpstreamUnreachable(f"{self.repository.registry}: ended {self.size - self.position} bytes early")

    async def _ask(self) -> BlobStream:
        return await self._upstreams.ask(self.repository, self._open_at, digest=self._digest)

    async def _open_at(self, endpoint: Endpoint) -> BlobStream:
        # From one byte before: a range must begin within the content, of which everything may have come already.
        start = max(0, self.position - 1)
        try:
            stream = await self._open_from(endpoint, start)
        except UpstreamBroken:
            if not start:
                raise
            # It does not do ranges as it should, or as one would think: what has come is skipped.
            stream = await self._open_from(endpoint, 0)
        self.sites.add(endpoint.site)
        return stream

    async def _open_from(self, endpoint: Endpoint, start: int) -> BlobStream:
        await self._held.aclose()
        opening = self._upstreams.blob_at(
            endpoint,
            self.repository,
            self._digest,
            start=start,
            size=self._expected,
            may_be_longer=self._may_be_longer,
        )
        return await self._held.enter_async_context(opening)


async def _joined(beginning: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    if beginning:
        yield beginning
    async for chunk in rest:
        yield chunk
