"""The bodies of what is not in the store yet: following a download, or straight from an upstream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable
from registryd.transfer.errors import SourcesExhausted

if TYPE_CHECKING:
    from registryd.caching.download import Download
    from registryd.caching.fetching import BlobFetch
    from registryd.caching.window import Reader
    from registryd.oci.ranges import Span
    from registryd.transfer.sink import Sink


class FollowingBody:
    """A span of a download: the bytes that have arrived, and the rest as it arrives. Holds the download until closed.

    A reader that is left behind gets SourceBroken, so that it can get the rest by a fetch of its own. An upstream that
    fails, or that sent wrong bytes, ends the attempt.
    """

    def __init__(self, download: Download, span: Span) -> None:
        self._download = download
        self._reader: Reader | None = download.enter(span.start)
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        if self._reader is None:
            raise ValueError("the body is closed")
        try:
            while self._reader.position < self._span.stop:
                await self._download.send_some(self._reader, self._span.stop, sink)
        except ContentUnavailable as error:
            raise SourcesExhausted(str(error)) from error

    async def aclose(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            self._download.leave(reader)


class PassingBody:
    """A span of a blob that is sent on and not stored. Owns the fetch, which was opened at the span's first byte."""

    def __init__(self, fetch: BlobFetch, span: Span) -> None:
        self._fetch = fetch
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        left = self._span.length
        try:
            async with aclosing(self._fetch.chunks()) as chunks:
                async for chunk in chunks:
                    await sink.write(chunk[:left])
                    left -= len(chunk[:left])
                    if not left:
                        return
        except ContentUnavailable as error:
            raise SourcesExhausted(str(error)) from error
        if left:
            raise SourcesExhausted(f"an upstream has {left} bytes less than it said")

    async def aclose(self) -> None:
        await self._fetch.aclose()
