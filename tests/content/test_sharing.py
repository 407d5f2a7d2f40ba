"""Between an ingest and content: peers are answered a moment later, this node itself at once."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.sharing import Receiving, SharedStore
from registryd.content.sought import Standing
from registryd.content.source import Content, ContentNotFound, ContentUnavailable, OpenContent, RangeOf
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.transfer.body import BytesBody
from registryd.transfer.file import FileBody
from registryd.transfer.striping import reach
from tests.contracts.content_store import always, asked_for
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.looptime

DATA = b"a layer"
DIGEST = Digest.of(DATA)


class Ingest:
    """A GrowingSource of one ingest, which can end."""

    def __init__(self) -> None:
        self.is_open = True

    async def growing(self, digest: Digest) -> GrowingContent:
        if not self.is_open:
            raise ContentNotFound("no ingest")
        return GrowingContent(digest, len(DATA), None, 3)

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise AssertionError("nobody reads")

    begun = growing

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        raise AssertionError("nobody waits")

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        await self.growing(digest)
        return GrowingContent(digest, reach(stripe, len(DATA)), None, min(2, reach(stripe, len(DATA))))

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        content = await self.growing(digest)
        span = wanted(reach(stripe, len(DATA)))
        if span.start >= 2:
            raise NotArrived("not yet")
        return OpenContent(content, span, BytesBody(DATA[span.start : span.stop]))


@pytest.fixture
def store() -> MemorySource:
    return MemorySource()


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


@pytest.fixture
async def shared(store: MemorySource, ingest: Ingest) -> SharedStore:
    return SharedStore(store, ingest)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_peer_waits_for_what_has_ended_as_an_ingest_and_is_not_content_yet(
    shared: SharedStore, store: MemorySource, ingest: Ingest
) -> None:
    assert isinstance(await shared.find(DIGEST), GrowingContent)
    ingest.is_open = False
    asyncio.get_running_loop().call_later(0.035, store.add, DIGEST, DATA)
    assert await shared.find(DIGEST) == Content(DIGEST, len(DATA), None)
    assert now() == pytest.approx(0.04, abs=0.001)


async def test_what_was_given_up_is_waited_for_once(shared: SharedStore, ingest: Ingest) -> None:
    await shared.find(DIGEST)
    ingest.is_open = False
    for took in (0.14, 0.0):
        begun = now()
        with pytest.raises(ContentNotFound):
            await shared.find(DIGEST)
        assert now() - begun == pytest.approx(took, abs=0.001)


async def test_what_was_whole_and_is_removed_is_gone_at_once(
    shared: SharedStore, store: MemorySource, ingest: Ingest
) -> None:
    await shared.find(DIGEST)
    ingest.is_open = False
    store.add(DIGEST, DATA)
    await shared.find(DIGEST)
    store.remove(DIGEST)
    with pytest.raises(ContentNotFound):
        await shared.find(DIGEST)
    assert now() == pytest.approx(0.0, abs=0.001)


async def test_what_is_whole_is_not_arriving_though_it_is_received_once_more(
    shared: SharedStore, store: MemorySource, ingest: Ingest
) -> None:
    own = Receiving(shared)
    assert (await own.arriving(DIGEST)).available == 3
    store.add(DIGEST, DATA)
    with pytest.raises(ContentNotFound):
        await own.arriving(DIGEST)
    ingest.is_open = False
    with pytest.raises(ContentNotFound):
        await own.arriving(DIGEST)


async def test_this_node_itself_is_told_at_once(shared: SharedStore, ingest: Ingest) -> None:
    own = Receiving(shared)
    assert (await own.find(DIGEST)).size == len(DATA)
    ingest.is_open = False
    with pytest.raises(ContentNotFound):
        await own.find(DIGEST)
    assert now() == pytest.approx(0.0, abs=0.001)


# Stripes


async def test_a_stripe_is_of_what_is_growing_and_then_of_what_is_whole(
    shared: SharedStore, store: MemorySource, ingest: Ingest
) -> None:
    growing = replace(await shared.find(DIGEST), standing=Standing.REGISTRY)
    part = await shared.stripe(growing, 0)
    assert part == GrowingContent(DIGEST, len(DATA), None, 2, standing=Standing.REGISTRY)
    assert (await shared.stripe(growing, 3)).size == 0
    ingest.is_open = False
    store.add(DIGEST, DATA)
    # Between the two questions it has become whole.
    whole = GrowingContent(DIGEST, len(DATA), None, len(DATA), standing=Standing.REGISTRY)
    assert await shared.stripe(growing, 0) == whole
    assert await shared.stripe(replace(await shared.find(DIGEST), standing=Standing.REGISTRY), 0) == whole


async def test_a_stripe_of_what_has_gone_is_not_found(shared: SharedStore, ingest: Ingest) -> None:
    growing = await shared.find(DIGEST)
    ingest.is_open = False
    with pytest.raises(ContentNotFound):
        await shared.stripe(growing, 0)
    with pytest.raises(ContentNotFound):
        await shared.open_stripe(DIGEST, 0, Span.whole)


async def test_what_a_stripe_does_not_have_yet_is_not_waited_for(shared: SharedStore) -> None:
    await shared.find(DIGEST)
    with pytest.raises(NotArrived):
        await shared.open_stripe(DIGEST, 0, always(Span(2, 3)))
    assert now() == 0
    opened = await shared.open_stripe(DIGEST, 0, always(Span(1, 3)))
    await opened.body.send_to(sink := FakeSink())
    assert sink.data == DATA[1:3]


async def test_a_peer_waits_for_a_stripe_of_what_has_ended_as_an_ingest_and_is_not_content_yet(
    shared: SharedStore, ingest: Ingest, tmp_path: Path
) -> None:
    await shared.find(DIGEST)
    ingest.is_open = False
    settled = SharedStore(filed := Filed(tmp_path), ingest)
    with pytest.raises(ContentNotFound):
        await settled.open_stripe(DIGEST, 0, Span.whole)
    ingest.is_open = True
    await settled.find(DIGEST)
    ingest.is_open = False
    asyncio.get_running_loop().call_later(0.035, filed.add, DIGEST, DATA)
    opened = await settled.open_stripe(DIGEST, 0, Span.whole)
    assert now() == pytest.approx(0.04, abs=0.001)
    async with aclosing(opened.body) as body:
        await body.send_to(sink := FakeSink())
    assert sink.data == DATA


class Filed(MemorySource):
    """The same, from files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "data"

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        opened = await super().open(digest, wanted)
        await opened.body.aclose()
        self._path.write_bytes(self._get(digest)[0])
        return replace(opened, body=FileBody(os.open(self._path, os.O_RDONLY), opened.span))


async def test_a_range_that_is_none_leaves_nothing_open(tmp_path: Path, ingest: Ingest) -> None:
    filed = Filed(tmp_path)
    filed.add(DIGEST, DATA)
    with pytest.raises(RangeInvalid):
        await SharedStore(filed, ingest).open_stripe(DIGEST, 0, asked_for(f"bytes={len(DATA)}-").span)


async def test_what_is_not_in_files_is_given_as_a_whole_only(
    shared: SharedStore, store: MemorySource, ingest: Ingest
) -> None:
    store.add(DIGEST, DATA)
    with pytest.raises(ContentUnavailable, match="only be had as a whole"):
        await shared.open_stripe(DIGEST, 0, Span.whole)
    assert store.left_open == 0
