"""The bodies of what is not in the store yet: following a download, or straight from an upstream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable, StoreUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken, SourcesExhausted
from registryd.transfer.file import FileBody

if TYPE_CHECKING:
    from registryd.caching.download import Download
    from registryd.caching.fetching import BlobFetch
    from registryd.transfer.sink import Sink


class FollowingBody:
    """A span of a download: what has arrived, and the rest as it does. Holds the download until it is closed.

    A store that fails is SourceBroken, so that the rest may come from the upstream; an upstream that fails, or sent
    wrong bytes, ends the attempt.
    """

    def __init__(self, download: Download, span: Span) -> None:
        download.hold()
        self._download: Download | None = download
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        if self._download is None:
            raise ValueError("the body is closed")
        rest = self._span
        while rest.length:
            readable = await _readable(self._download, rest.start)
            piece = Span(rest.start, min(readable, rest.stop))
            # Never closed: the descriptor is the download's.
            await FileBody(self._download.fd, piece).send_to(sink)
            rest = rest.after(piece.length)

    async def aclose(self) -> None:
        download, self._download = self._download, None
        if download is not None:
            download.let_go()


async def _readable(download: Download, position: int) -> int:
    try:
        return await download.wait_readable(position)
    except StoreUnavailable as error:
        raise SourceBroken(str(error)) from error
    except ContentUnavailable as error:
        raise SourcesExhausted(str(error)) from error


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
                while left:
                    chunk = (await anext(chunks))[:left]
                    await sink.write(chunk)
                    left -= len(chunk)
        except ContentUnavailable as error:
            raise SourcesExhausted(str(error)) from error

    async def aclose(self) -> None:
        await self._fetch.aclose()
