"""One download by itself: what its readers learn, whatever becomes of the fetch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from registryd.caching.download import Download
from registryd.caching.window import WindowMemory
from registryd.content.source import ContentUnavailable
from registryd.oci.digest import Digest
from registryd.upstream.errors import UpstreamUnreachable
from tests.fakes.images import sample_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.caching.fetching import BlobFetch

DATA = sample_bytes(200_000)
DIGEST = Digest.of(DATA)


class Common:
    """The common parts of downloads, without a store."""

    behind_seconds = 1.0

    def __init__(self) -> None:
        self.memory = WindowMemory(1_000_000)

    def not_stored(self, why: Exception) -> None:
        raise AssertionError(why)


class StickyFetch:
    """A fetch of DATA, if it `opens`, that does not close: that fails, or takes for ever."""

    repository = None
    size = len(DATA)
    beginning = b""
    is_longer = False

    def __init__(self, *, opens: bool, hangs: bool) -> None:
        self.position = 0
        self.closing = asyncio.Event()
        self._opens = opens
        self._hangs = hangs

    async def open(self) -> None:
        if not self._opens:
            raise UpstreamUnreachable("nobody there")

    async def go_to(self, position: int) -> None:
        self.position = position

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield DATA

    async def aclose(self) -> None:
        self.closing.set()
        if self._hangs:
            await asyncio.Event().wait()
        raise OSError("the connection does not close")


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("opens", [False, True])
async def test_readers_learn_of_the_end_though_the_fetch_does_not_close(*, opens: bool, hangs: bool) -> None:
    download = Download(DIGEST, Common())
    fetch = StickyFetch(opens=opens, hangs=hangs)
    with download.reading():
        reader = asyncio.create_task(download.wait_readable(len(DATA) - 1))
        work = asyncio.create_task(download.run(cast("BlobFetch", fetch), None))
        await fetch.closing.wait()
        async with asyncio.timeout(5):
            if opens:
                assert await reader == len(DATA)
            else:
                with pytest.raises(ContentUnavailable, match="nobody there"):
                    await reader
        assert download.is_over
        work.cancel()
        await asyncio.wait((work,))
        assert work.cancelled() or isinstance(work.exception(), OSError)
    download.drop()
