"""What cannot be stored is sent on all the same: one fetch for all who read it at about the same place, verified."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from registryd.caching.patience import CachePatience
from registryd.content.writer import StoreFull
from registryd.oci.digest import Digest
from registryd.store.directory.bounded import open_bounded_store
from tests.caching.test_pull_through import slow
from tests.caching.world import until
from tests.fakes.images import oci_image, sample_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.oci.reference import Repository
    from registryd.store.directory.space import SpaceLimits, SpaceObserver
    from tests.caching.world import World

DATA = sample_bytes(3_000_000)
DIGEST = Digest.of(DATA)
BLOB = f"demo/app/blobs/{DIGEST}"


@pytest.fixture
def full(world: World) -> World:
    """No blob of DATA's size fits."""
    world.cache = replace(world.cache, size_limit=1_000_000)
    return world


async def test_fifty_at_once_cost_the_upstream_one_fetch(full: World) -> None:
    full.upstream.blobs[str(DIGEST)] = DATA
    async with full.caching() as client:
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(50)))
    assert all(answer.body == DATA for answer in answers)
    assert full.blob_gets() == [f"/v2/{BLOB}"]
    assert full.requests("HEAD", "blobs") == 0
    assert full.stored() == set()


@pytest.mark.parametrize("size", [100, 200_000])
async def test_what_is_too_large_keeps_nothing_else_out(full: World, size: int) -> None:
    """A list with one large layer filled a small cache with nothing for 5 s."""
    image = oci_image(layers=(DATA, sample_bytes(size)))
    full.upstream.add("demo/app", image)
    async with full.caching() as client:
        await client.get(f"demo/app/manifests/{image.target.digest}")
        await client.get(BLOB)
        small = Digest.of(sample_bytes(size))
        await client.get(f"demo/app/blobs/{small}")
        assert {small.encoded, DIGEST.encoded} & full.stored() == {small.encoded}


async def test_who_comes_while_it_is_under_way_joins(full: World) -> None:
    gate = asyncio.Event()
    full.upstream.character = slow(DATA, gate)
    async with full.caching() as client:
        first = asyncio.create_task(client.get(BLOB))
        early = await client.get(BLOB, Range="bytes=1000-1999")
        assert early.body == DATA[1000:2000]
        second = asyncio.create_task(client.get(BLOB))
        gate.set()
        assert [(await reader).body == DATA for reader in (first, second)] == [True, True]
    assert len(full.blob_gets()) == 1


async def test_who_comes_just_after_it_finds_it_in_memory(full: World) -> None:
    full.upstream.blobs[str(DIGEST)] = DATA
    async with full.caching() as client:
        for _ in range(3):
            assert (await client.get(BLOB)).body == DATA
        assert (await client.get(BLOB, Range="bytes=2999000-")).body == DATA[2999000:]
    assert len(full.blob_gets()) == 1


async def test_who_comes_after_it_is_forgotten_costs_another(full: World) -> None:
    full.patience = CachePatience(unread=0.01)
    full.upstream.blobs[str(DIGEST)] = DATA
    async with full.caching() as client:
        for expected in (1, 2):
            assert (await client.get(BLOB)).body == DATA
            assert len(full.blob_gets()) == expected
            await asyncio.sleep(0.1)
        answer = await client.get(BLOB, Range="bytes=2999000-")
        assert answer.body == DATA[2999000:]
    assert len(full.blob_gets()) == 3


async def test_what_is_in_memory_makes_room_for_others(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.caching.downloads._WINDOW_BYTES", 4_000_000)
    other = sample_bytes(3_000_000, seed=1)
    full.upstream.blobs |= {str(DIGEST): DATA, str(Digest.of(other)): other}
    async with full.caching() as client:
        assert (await client.get(BLOB)).body == DATA
        assert (await client.get(f"demo/app/blobs/{Digest.of(other)}")).body == other
        assert (await client.get(BLOB)).body == DATA
    assert len(full.blob_gets()) == 3


async def test_who_finds_the_beginning_gone_starts_another_download(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.caching.downloads._WINDOW_BYTES", 500_000)
    gate = asyncio.Event()
    full.upstream.character = slow(DATA, gate, first=2_000_000)
    async with full.caching() as client:
        readers = [asyncio.create_task(client.get(BLOB))]
        # A range that far is only there when the beginning is not any more.
        assert (await client.get(BLOB, Range="bytes=1900000-1900009")).body == DATA[1900000:1900010]
        readers += [asyncio.create_task(client.get(BLOB)) for _ in range(5)]
        await until(lambda: len(full.blob_gets()) == 2)
        gate.set()
        assert all([(await reader).body == DATA for reader in readers])
    assert len(full.blob_gets()) == 2


async def test_wrong_bytes_are_not_given_whole(full: World) -> None:
    full.upstream.blobs[str(DIGEST)] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    async with full.caching() as client:
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(5)))
        assert not any(answer.is_whole for answer in answers)
        # What was wrong is shown when it is verified.
        assert (await client.get(BLOB)).status == 503
    assert len(full.blob_gets()) == 2


@pytest.mark.parametrize("window", [4_000_000, 2_000_000])
async def test_what_was_wrong_once_is_verified_in_memory_where_it_fits(
    full: World, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.caching.downloads._WINDOW_BYTES", window)
    full.patience = CachePatience(behind=0.2)
    other = sample_bytes(2_000_000, seed=1)
    full.upstream.blobs |= {str(DIGEST): DATA[:-1] + bytes([DATA[-1] ^ 1]), str(Digest.of(other)): other}
    async with full.caching() as client:
        assert not (await client.get(BLOB)).is_whole
        # It stays in memory for a while, unless that is needed.
        assert (await client.get(f"demo/app/blobs/{Digest.of(other)}")).body == other
        full.upstream.blobs[str(DIGEST)] = DATA
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(5)))
    fits = window > len(DATA)
    assert [(answer.status, answer.body == DATA) for answer in answers] == [(200 if fits else 503, fits)] * 5
    assert len(full.blob_gets()) == 3


async def test_an_upstream_that_breaks_is_gone_on_with(full: World) -> None:
    breaks = [True, True, False]

    async def answer(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(DATA) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        await response.prepare(request)
        is_cut = breaks.pop(0)
        await response.write(DATA[start : start + 900_000] if is_cut else DATA[start:])
        await asyncio.sleep(0.05)
        if is_cut and request.transport is not None:
            request.transport.close()
        return response

    full.upstream.character = answer
    async with full.caching() as client:
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(3)))
    assert [answer.body == DATA for answer in answers] == [True] * 3


async def test_one_who_reads_slowly_gets_the_rest_by_himself(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.caching.downloads._WINDOW_BYTES", 500_000)
    full.patience = CachePatience(behind=0.2)
    data = sample_bytes(20_000_000)
    blob = f"demo/app/blobs/{Digest.of(data)}"
    full.upstream.blobs[str(Digest.of(data))] = data
    async with full.caching() as client, client.session.get(f"{client.url}/v2/{blob}?ns=registry.example") as idle:
        begun = await idle.content.readexactly(1000)
        # More than the sockets' buffers hold, so that he holds the others up.
        assert (await client.get(blob)).body == data
        assert begun + await idle.content.read() == data
    assert len(full.blob_gets()) == 2


class FailingStore:
    """A store that says it is full at some point of each ingest."""

    def __init__(self, store: Any, at: str) -> None:
        self._store = store
        self._at = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def begin(self, digest: Digest, *, size: int, repository: Repository) -> FailingIngest:
        if self._at == "begin":
            raise StoreFull("full now")
        return FailingIngest(await self._store.begin(digest, size=size, repository=repository), self._at)


class FailingIngest:
    def __init__(self, ingest: Any, at: str) -> None:
        self._ingest = ingest
        self._at = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ingest, name)

    async def write(self, data: bytes) -> None:
        if self._at == "write" and self._ingest.written > 1_000_000:
            raise StoreFull("full now")
        await self._ingest.write(data)

    async def commit(self) -> None:
        await self._ingest.seal()
        raise StoreFull("full now")


class WaitingStore(FailingStore):
    """A store that makes room for a long time."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, "")
        self.has_room = asyncio.Event()

    async def begin(self, digest: Digest, *, size: int, repository: Repository) -> Any:
        await self.has_room.wait()
        return await self._store.begin(digest, size=size, repository=repository)


async def test_the_first_bytes_do_not_wait_for_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = []

    @asynccontextmanager
    async def opening(root: Path, limits: SpaceLimits, observer: SpaceObserver) -> AsyncIterator[WaitingStore]:
        async with open_bounded_store(root, limits, observer) as store:
            stores.append(WaitingStore(store))
            yield stores[0]

    monkeypatch.setattr("registryd.agent.cache.open_bounded_store", opening)
    world.upstream.blobs[str(DIGEST)] = DATA
    async with world.caching() as client, client.session.get(f"{client.url}/v2/{BLOB}?ns=registry.example") as answer:
        begun = await answer.content.readexactly(1000)
        stores[0].has_room.set()
        assert begun + await answer.content.read() == DATA
    assert world.stored() == {DIGEST.encoded}
    assert len(world.blob_gets()) == 1


@pytest.mark.parametrize(("at", "fetches"), [("begin", 1), ("write", 2), ("commit", 1)])
async def test_a_store_that_fails_on_the_way_is_gone_past(
    world: World, at: str, fetches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who read notice nothing; what was received and not yet written is fetched again."""

    @asynccontextmanager
    async def opening(root: Path, limits: SpaceLimits, observer: SpaceObserver) -> AsyncIterator[FailingStore]:
        async with open_bounded_store(root, limits, observer) as store:
            yield FailingStore(store, at)

    monkeypatch.setattr("registryd.agent.cache.open_bounded_store", opening)
    world.upstream.blobs[str(DIGEST)] = DATA
    async with world.caching() as client:
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(10)))
    assert [answer.body == DATA for answer in answers] == [True] * 10
    assert len(world.blob_gets()) == fetches
    assert world.stored() == set()
