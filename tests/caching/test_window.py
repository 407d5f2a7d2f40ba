"""The latest bytes, shared by readers at different places: what is kept, for whom, and who is left behind."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from registryd.caching.window import Reader, Window, WindowMemory

pytestmark = pytest.mark.looptime

CHUNK = b"0123456789"


async def fill(window: Window, count: int) -> None:
    for _ in range(count):
        await window.put(CHUNK)


async def read(window: Window, reader: Reader, *, pause: float, until: int) -> list[float]:
    """Read chunk after chunk with a pause after each; the times when there was one."""
    times = []
    while reader.position < until and not reader.is_left_behind:
        if reader.position < window.end:
            reader.position += len(window.get(reader.position))
            window.moved()
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(pause)
        else:
            await asyncio.sleep(0.01)
    return times


async def test_what_fits_is_kept_for_who_comes_late() -> None:
    memory = WindowMemory(100)
    window = Window(0, memory, {Reader(100)}, patience=4)
    await fill(window, 10)
    assert (window.start, window.end, memory.held) == (0, 100, 100)
    assert bytes(window.get(37)) == CHUNK[7:]
    window.close()
    window.close()
    assert (memory.held, memory.windows) == (0, 0)


async def test_reserved_room_waits_for_no_reader() -> None:
    memory, reader = WindowMemory(100), Reader()
    other, window = Window(0, memory, {reader}, patience=4), Window(0, memory, {reader}, patience=4)
    await fill(other, 3)
    assert not await window.reserve(101)
    begun = asyncio.get_running_loop().time()
    assert not await window.reserve(80), "the other one is read"
    assert asyncio.get_running_loop().time() - begun == 4
    asyncio.get_running_loop().call_later(1, other.close)
    assert await window.reserve(80)
    assert (asyncio.get_running_loop().time() - begun, memory.held) == (5, 80)
    await fill(window, 8)
    assert (window.start, window.end, memory.held) == (0, 80, 80)
    window.close()
    assert (memory.held, memory.windows) == (0, 0)


async def test_reserved_room_that_was_not_used_is_given_back() -> None:
    memory = WindowMemory(100)
    window = Window(0, memory, set(), patience=4)
    assert await window.reserve(80)
    await fill(window, 2)
    window.close()
    assert (memory.held, memory.windows) == (0, 0)


async def test_what_all_have_read_makes_room() -> None:
    slow, quick = Reader(), Reader()
    memory = WindowMemory(30)
    window = Window(0, memory, {slow, quick}, patience=4)
    filling = asyncio.create_task(fill(window, 10))
    slow.position, quick.position = 15, 30
    window.moved()
    await asyncio.sleep(0.1)
    assert (window.start, window.end) == (10, 40), "the chunk that the slow one is in stays"
    slow.position = quick.position = 40
    window.moved()
    await asyncio.sleep(0.1)
    assert window.end >= 70
    slow.position = quick.position = 100
    window.moved()
    await filling
    window.close()


async def test_nobody_who_reads_is_waited_for_until_somebody_does() -> None:
    readers: set[Reader] = set()
    window = Window(0, WindowMemory(20), readers, patience=4)
    filling = asyncio.create_task(fill(window, 4))
    await asyncio.sleep(60)
    assert (window.start, window.end) == (0, 20)
    readers.add(Reader(40))
    window.moved()
    await filling
    window.close()


async def test_one_who_is_slow_alone_is_waited_for() -> None:
    reader = Reader()
    window = Window(0, WindowMemory(20), {reader}, patience=4)
    filling = asyncio.create_task(fill(window, 5))
    times = await read(window, reader, pause=30, until=50)
    await filling
    assert len(times) == 5
    assert not reader.is_left_behind
    window.close()


async def test_all_who_are_equally_slow_are_waited_for() -> None:
    readers = {Reader() for _ in range(3)}
    window = Window(0, WindowMemory(20), readers, patience=4)
    filling = asyncio.create_task(fill(window, 5))
    await asyncio.gather(*(read(window, reader, pause=30, until=50) for reader in readers))
    await filling
    assert not any(reader.is_left_behind for reader in readers)
    window.close()


async def test_who_keeps_others_waiting_is_left_behind() -> None:
    slow, quick = Reader(), Reader()
    window = Window(0, WindowMemory(20), {slow, quick}, patience=4)
    filling = asyncio.create_task(fill(window, 50))
    trickle = asyncio.create_task(read(window, slow, pause=1.5, until=500))
    times = await read(window, quick, pause=0.0, until=500)
    await trickle
    await filling
    assert slow.is_left_behind
    assert not quick.is_left_behind
    # He was followed for a while, and then nobody waited for anybody.
    assert times[-1] < 8
    window.close()


async def test_windows_share_the_memory_and_each_gets_on() -> None:
    memory = WindowMemory(40)
    windows = [Window(0, memory, {Reader()}, patience=4) for _ in range(8)]
    filling = [asyncio.create_task(fill(window, 6)) for window in windows]
    await asyncio.sleep(1)
    # One chunk each, for the share of a window is less than that.
    assert [window.end - window.start for window in windows] == [10] * 8
    for window, position in itertools.product(windows, range(10, 70, 10)):
        for reader in window._readers:
            reader.position = position
        window.moved()
        await asyncio.sleep(0)
        assert memory.held <= 80
    await asyncio.gather(*filling)
    for window in windows:
        window.close()
    assert (memory.held, memory.windows) == (0, 0)
