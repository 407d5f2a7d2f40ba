"""What had come of a blob is gone on with by Range after whatever ended it, and never taken for more than it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.caching.patience import CachePatience
from registryd.oci.digest import Digest
from tests.caching.test_broken_upstreams import breaking
from tests.caching.test_pull_through import slow
from tests.caching.world import until
from tests.fakes.images import sample_bytes
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from pathlib import Path

    from tests.caching.world import World

DATA = sample_bytes(3_000_000)
DIGEST = Digest.of(DATA)
BLOB = f"demo/app/blobs/{DIGEST}"
COME = 2_000_000


def kept(world: World) -> list[Path]:
    return list(world.root.glob(f"ingest/partial/*/sha256-{DIGEST.encoded}"))


async def break_off(world: World) -> Path:
    """A cache that was stopped when so much had come; what it kept."""
    gate = asyncio.Event()
    world.upstream.character = slow(DATA, gate, first=COME)
    async with world.caching() as client:
        reader = asyncio.create_task(client.get(BLOB))
        assert (await client.get(BLOB, Range=f"bytes={COME - 10}-{COME - 1}")).body == DATA[COME - 10 : COME]
    await asyncio.gather(reader, return_exceptions=True)
    [file] = kept(world)
    assert file.read_bytes() == DATA[:COME]
    world.upstream.seen.clear()
    world.upstream.character = None
    world.upstream.blobs[str(DIGEST)] = DATA
    return file


def asked_from(world: World) -> list[str | None]:
    return [seen.range for seen in world.upstream.seen if seen.method == "GET"]


async def test_a_cache_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    await break_off(world)
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert asked_from(world) == [f"bytes={COME - 1}-"]
    assert world.stored() == {DIGEST.encoded}
    assert not kept(world)


async def test_what_the_upstream_broke_off_is_gone_on_with_too(world: World) -> None:
    broken = breaking(DATA, every=COME)

    async def once(request: object) -> object:
        world.upstream.character = answering(500)
        return await broken(request)  # type: ignore[arg-type]

    world.upstream.character = once  # type: ignore[assignment]
    async with world.caching() as client:
        assert not (await client.get(BLOB)).is_whole
        await until(lambda: kept(world))
        world.upstream.character = None
        world.upstream.blobs[str(DIGEST)] = DATA
        world.upstream.seen.clear()
        assert (await client.get(BLOB)).body == DATA
    assert len(asked_from(world)) == 1
    assert asked_from(world) != [None]


async def test_what_nobody_read_any_more_is_gone_on_with_too(world: World) -> None:
    world.patience = CachePatience(unread=0.05)
    gate = asyncio.Event()
    world.upstream.character = slow(DATA, gate, first=COME)
    async with world.caching() as client:
        assert (await client.get(BLOB, Range=f"bytes=0-{COME - 1}")).body == DATA[:COME]
        await until(lambda: kept(world))
        gate.set()
        assert (await client.get(BLOB)).body == DATA
    assert asked_from(world) == [None, f"bytes={COME - 1}-"]


async def test_all_of_it_may_have_come(world: World) -> None:
    file = await break_off(world)
    file.write_bytes(DATA)
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert asked_from(world) == [f"bytes={len(DATA) - 1}-"]
    assert world.stored() == {DIGEST.encoded}


async def test_more_may_have_come_than_there_is(world: World) -> None:
    file = await break_off(world)
    file.write_bytes(DATA + b"more")
    world.upstream.character = None
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert world.stored() == {DIGEST.encoded}


async def test_an_upstream_without_ranges_is_read_up_to_where_it_was(world: World) -> None:
    await break_off(world)
    world.upstream.character = answering(200, DATA)
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA


async def test_what_was_kept_wrong_is_never_given_whole_and_nobody_is_blamed(world: World) -> None:
    file = await break_off(world)
    file.write_bytes(b"?" * COME)
    async with world.caching() as client:
        assert not (await client.get(BLOB)).is_whole
        assert not kept(world)
        # From the start, and shown only when it is verified.
        assert (await client.get(BLOB)).body == DATA
    assert asked_from(world) == [f"bytes={COME - 1}-", None]
    assert world.stored() == {DIGEST.encoded}


async def test_what_came_before_is_given_at_once(world: World) -> None:
    await break_off(world)
    gate = asyncio.Event()
    world.upstream.character = slow(DATA, gate, first=1)
    async with world.caching() as client:
        early = await client.get(BLOB, Range=f"bytes=0-{COME - 2}")
        assert early.body == DATA[: COME - 1]
        gate.set()
        assert (await client.get(BLOB)).body == DATA


@pytest.mark.parametrize("stranger", ["link", "folder", "another name"])
async def test_strangers_among_what_was_kept_are_left_alone(world: World, stranger: str) -> None:
    file = await break_off(world)
    victim = world.root.parent / "victim"
    victim.write_bytes(DATA[:COME])
    file.unlink()
    match stranger:
        case "link":
            file.symlink_to(victim)
        case "folder":
            file.mkdir()
        case _:
            file.with_name("sha256-notes").write_bytes(DATA)
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert asked_from(world) == [None]
    assert victim.read_bytes() == DATA[:COME]
