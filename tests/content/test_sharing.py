"""Between an ingest and content: peers are answered a moment later, this node itself at once."""

from __future__ import annotations

import asyncio

import pytest

from registryd.content.growing import GrowingContent
from registryd.content.sharing import Receiving, SharedStore
from registryd.content.source import Content, ContentNotFound, OpenContent, RangeOf
from registryd.oci.digest import Digest
from tests.fakes.sources import MemorySource

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
