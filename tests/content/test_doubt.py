"""Doubts lead to a second look, not more often than is good, and a bad copy is not given any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.content.doubt import Scrubber
from registryd.content.offered import OfferedStore
from registryd.content.source import ContentNotFound
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from tests.fakes.bodies import BrokenBody
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.content.source import ContentSource

GOOD, BAD = Digest.of(b"good"), Digest.of(b"as it should be")


@pytest.fixture
def store() -> MemorySource:
    store = MemorySource()
    store.add(GOOD, b"good")
    store.add(BAD, b"something else")
    return store


class Withdrawn(list[Digest]):
    """What was withdrawn; `one` is set by the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = asyncio.Event()

    async def withdraw(self, digest: Digest) -> None:
        self.append(digest)
        self.one.set()


@asynccontextmanager
async def looking(store: ContentSource, withdrawn: Withdrawn) -> AsyncIterator[Scrubber]:
    look = Scrubber(store, withdraw=withdrawn.withdraw)
    task = asyncio.create_task(look.run())
    try:
        yield look
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_bad_copy_is_withdrawn_and_good_or_absent_ones_are_not(store: MemorySource) -> None:
    withdrawn = Withdrawn()
    async with looking(store, withdrawn) as look:
        look.doubt(GOOD)
        look.doubt(Digest.of(b"absent"))
        look.doubt(BAD)
        await withdrawn.one.wait()
    assert withdrawn == [BAD]
    assert store.left_open == 0


async def test_a_copy_is_looked_at_once_in_a_while(store: MemorySource) -> None:
    withdrawn = Withdrawn()
    async with looking(store, withdrawn) as look:
        for _ in range(5):
            look.doubt(GOOD)
        look.doubt(BAD)
        await withdrawn.one.wait()
    assert store.asked.count(GOOD) == 1


async def test_more_doubts_than_can_wait_are_ignored(store: MemorySource) -> None:
    withdrawn = Withdrawn()
    look = Scrubber(store, withdraw=withdrawn.withdraw)
    for number in range(1000):
        look.doubt(Digest.of(str(number).encode()))
    look.doubt(BAD)
    task = asyncio.create_task(look.run())
    for _ in range(1000):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert len(store.asked) == 64
    assert withdrawn == []


async def test_what_cannot_be_read_now_is_left_alone() -> None:
    store, withdrawn, next_one = (
        MemorySource(make_body=lambda data: BrokenBody(data, breaks_after=1)),
        Withdrawn(),
        GOOD,
    )
    store.add(BAD, b"something else")
    async with looking(store, withdrawn) as look:
        look.doubt(BAD)
        look.doubt(next_one)
        while next_one not in store.asked:  # noqa: ASYNC110 - it has been through with the other one by then
            await asyncio.sleep(0)
    assert withdrawn == []
    assert store.left_open == 0


async def test_a_withdrawn_copy_is_not_given_until_another_one_has_taken_its_place(store: MemorySource) -> None:
    set_aside = Withdrawn()
    sound = OfferedStore(store, set_aside=set_aside.withdraw)
    await sound.withdraw(BAD)
    assert set_aside == [BAD]
    with pytest.raises(ContentNotFound, match="corrupt"):
        await sound.find(BAD)
    with pytest.raises(ContentNotFound, match="corrupt"):
        await sound.open(BAD, Span.whole)
    assert (await sound.find(GOOD)).size == 4

    store.remove(BAD)
    with pytest.raises(ContentNotFound):
        await sound.find(BAD)
    store.add(BAD, b"as it should be")
    assert (await sound.find(BAD)).size == len(b"as it should be")
