"""Stripes come in any order and are taken in the order of the content, within bounds."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.inflow import InflowMemory, Inflows
from registryd.transfer.stripe_board import AHEAD_BYTES, StripeBoard, StripeSink
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES, reach
from tests.fakes.sources import stripe_bytes
from tests.transfer.striped import within

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = os.urandom(3 * ROW_BYTES + 5)
PARTS = [stripe_bytes(DATA, stripe) for stripe in range(STRIPES)]
WHOLE = Span.whole(len(DATA))
# Three stripes may be as far ahead as a stripe ever is.
LONG = Span.whole(STRIPES * (AHEAD_BYTES + 2 * PIECE_BYTES))
DIGEST = Digest.of(DATA)
_ENOUGH = 1 << 40

SPANS = st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))).map(lambda ends: Span(min(ends), max(ends)))
# No smaller ones: each costs a turn of the loop.
CHUNKS = st.lists(st.integers(20_001, 2 * PIECE_BYTES + 1), min_size=1, max_size=4)


class Told:
    """Remembers of which stripes followers are told."""

    def __init__(self) -> None:
        self.stripes: list[int | None] = []

    def __call__(self, stripe: int | None) -> None:
        self.stripes.append(stripe)

    @property
    def times(self) -> int:
        return len(self.stripes)


def board_of(span: Span = WHOLE, *, most: int = _ENOUGH) -> tuple[StripeBoard, InflowMemory, Told]:
    memory, told = InflowMemory(most), Told()
    return StripeBoard(span, memory, told), memory, told


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    found: list[bytes] = []
    start = 0
    while start < len(data):
        size = sizes[len(found) % len(sizes)]
        found.append(data[start : start + size])
        start += size
    return found


async def give(board: StripeBoard, stripe: int, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        await board.put(stripe, chunk)
        await asyncio.sleep(0)


def has_next(board: StripeBoard) -> bool:
    """Whether the next byte for the receiver has come."""
    return board.end < board.span.stop and board.reached[board.wanted] > reach(board.wanted, board.end)


async def take_all(board: StripeBoard) -> bytes:
    taken = bytearray()
    while data := await board.take():
        taken += data
        await asyncio.sleep(0)
    return bytes(taken)


async def blocks(board: StripeBoard, stripe: int, data: bytes) -> asyncio.Task[None]:
    """A task that puts the data, and is known to wait for room."""
    putting = asyncio.create_task(board.put(stripe, data))
    await asyncio.sleep(0.01)
    assert not putting.done()
    return putting


# For the receiver


@settings(max_examples=25)
@given(SPANS, st.lists(CHUNKS, min_size=STRIPES, max_size=STRIPES), st.permutations(range(STRIPES)))
async def test_whichever_stripe_comes_first_the_receiver_gets_the_content_in_order(
    span: Span, sizes: list[list[int]], order: list[int]
) -> None:
    board, memory, _ = board_of(span)
    parts = within(PARTS, span)
    for stripe in order:
        await give(board, stripe, cut(parts[stripe], sizes[stripe]))
        assert board.left(stripe) == 0
    assert memory.held == span.length
    assert await take_all(board) == DATA[span.start : span.stop]
    assert (board.end, memory.held) == (span.stop, 0)


@settings(max_examples=25)
@given(SPANS, st.lists(CHUNKS, min_size=STRIPES, max_size=STRIPES), st.permutations(range(STRIPES)))
async def test_side_by_side_they_need_hardly_any_memory(span: Span, sizes: list[list[int]], order: list[int]) -> None:
    """Memory is full from the beginning, so each stripe has a piece here and what its source gave at once."""
    board, memory, _ = board_of(span, most=0)
    parts = within(PARTS, span)
    most = sum(PIECE_BYTES + max(each) for each in sizes)
    giving = [asyncio.create_task(give(board, stripe, cut(parts[stripe], sizes[stripe]))) for stripe in order]
    taken = bytearray()
    while data := await asyncio.wait_for(board.take(), 30):
        taken += data
        assert memory.held <= most
        await asyncio.sleep(0)
    await asyncio.gather(*giving)
    assert bytes(taken) == DATA[span.start : span.stop]
    assert memory.held == 0


async def test_the_receiver_is_given_a_byte_as_soon_as_it_is_its_turn() -> None:
    board, _, _ = board_of()
    taking = asyncio.create_task(board.take())
    await board.put(1, DATA[PIECE_BYTES : PIECE_BYTES + 5])
    await asyncio.sleep(0)
    assert not taking.done()
    await board.put(0, DATA[:3])
    assert bytes(await taking) == DATA[:3]
    assert board.wanted == 0
    await board.put(0, DATA[3:PIECE_BYTES])
    assert bytes(await board.take()) == DATA[3:PIECE_BYTES]
    assert board.wanted == 1
    assert bytes(await board.take()) == DATA[PIECE_BYTES : PIECE_BYTES + 5]


async def test_an_empty_write_is_no_end() -> None:
    board, _, _ = board_of()
    await board.put(0, b"")
    taking = asyncio.create_task(board.take())
    await asyncio.sleep(0)
    assert not taking.done()
    await board.put(0, b"x")
    await board.put(0, b"")
    assert bytes(await taking) == b"x"


async def test_nothing_is_left_of_an_empty_span() -> None:
    board, _, _ = board_of(Span(7, 7))
    assert await board.take() == b""
    assert [board.left(stripe) for stripe in range(STRIPES)] == [0] * STRIPES
    with pytest.raises(SourceBroken, match="more of stripe 0 than there is"):
        await board.put(0, b"x")


async def test_what_a_source_writes_into_its_buffer_later_changes_nothing() -> None:
    board, _, _ = board_of()
    buffer = bytearray(DATA[:10])
    await StripeSink(board, 0).write(memoryview(buffer))
    buffer[:] = bytes(10)
    assert bytes(await board.take()) == DATA[:10]


# Bounds


async def test_a_stripe_is_not_far_ahead_until_the_receiver_takes() -> None:
    board, memory, _ = board_of(LONG)
    await board.put(3, bytes(AHEAD_BYTES - 1))
    putting = await blocks(board, 3, b"x")
    assert memory.held == AHEAD_BYTES
    for stripe in range(3):
        await board.put(stripe, bytes(PIECE_BYTES))
        await board.take()
    await board.take()
    await asyncio.wait_for(putting, 30)


async def test_all_stripes_together_are_bounded() -> None:
    board, memory, _ = board_of(LONG)
    chunk = bytes(64 * 1024)
    giving = [asyncio.create_task(give(board, stripe, [chunk] * 1000)) for stripe in range(1, STRIPES)]
    try:
        async with asyncio.timeout(30):
            while memory.held < (STRIPES - 1) * AHEAD_BYTES:  # noqa: ASYNC110 - memory has no event
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert memory.held == (STRIPES - 1) * AHEAD_BYTES
    finally:
        for task in giving:
            task.cancel()
        await asyncio.wait(giving)
    board.close()
    assert memory.held == 0


async def test_where_memory_is_full_what_the_receiver_waits_for_comes_and_other_stripes_wait() -> None:
    board, memory, _ = board_of(most=1)
    await board.put(1, bytes(PIECE_BYTES - 1))
    waiting = await blocks(board, 1, b"x")
    taken = asyncio.create_task(take_all(board))
    await board.put(0, bytes(PIECE_BYTES))
    await asyncio.wait_for(waiting, 30)
    board.fail(SourceBroken("enough"))
    with pytest.raises(SourceBroken, match="enough"):
        await taken
    assert memory.held == 0


async def test_room_that_another_layer_gives_back_is_taken_at_once() -> None:
    board, memory, _ = board_of(LONG, most=AHEAD_BYTES)
    memory.take(AHEAD_BYTES)
    putting = [await blocks(board, stripe, bytes(PIECE_BYTES)) for stripe in range(1, STRIPES)]
    assert board.waits_for(0)
    memory.give_back(1)
    await asyncio.sleep(0.01)
    assert not any(each.done() for each in putting), "it is still full"
    memory.give_back(AHEAD_BYTES - 1)
    assert not board.waits_for(0), "the others can come further"
    await asyncio.wait_for(asyncio.gather(*putting), 30)


async def test_what_is_taken_wakes_no_source_of_another_stripe() -> None:
    board, memory, _ = board_of(LONG, most=1)
    putting = [await blocks(board, stripe, bytes(PIECE_BYTES + 1)) for stripe in range(STRIPES)]
    await board.take()
    assert [stripe for stripe, room in enumerate(board._rooms) if room.is_set()] == [0]
    memory.give_back(0)
    assert [stripe for stripe, room in enumerate(board._rooms) if room.is_set()] == [0], "it is still full"
    for each in putting:
        each.cancel()
    await asyncio.wait(putting)


async def test_a_source_that_has_given_all_does_not_wait_for_room() -> None:
    board, _, _ = board_of(Span.whole(2 * ROW_BYTES), most=0)
    await asyncio.wait_for(board.put(7, bytes(2 * PIECE_BYTES)), 30)


@pytest.mark.parametrize("extra", [1, 1 << 20])
async def test_more_than_there_is_of_a_stripe_is_the_sources_fault_and_leaves_nothing(extra: int) -> None:
    board, memory, _ = board_of()
    rest = board.left(4)
    await board.put(4, bytes(rest - 1))
    with pytest.raises(SourceBroken, match="more of stripe 4 than there is"):
        await board.put(4, bytes(1 + extra))
    assert (memory.held, board.left(4)) == (rest - 1, 1)


async def test_what_a_source_gave_before_it_was_left_counts_once() -> None:
    board, memory, _ = board_of(LONG)
    sink = StripeSink(board, 1)
    writing = asyncio.create_task(sink.write(bytes(AHEAD_BYTES)))
    await asyncio.sleep(0.01)
    writing.cancel()
    await asyncio.wait([writing])
    assert sink.sent == board.reached[1] == memory.held == AHEAD_BYTES
    assert board.left(1) == 2 * PIECE_BYTES


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, STRIPES - 1), st.integers(1, 3 * PIECE_BYTES)), max_size=20), st.integers(0, 20)
)
async def test_memory_is_given_back_to_the_byte_wherever_it_ends(puts: list[tuple[int, int]], takes: int) -> None:
    board, memory, _ = board_of()
    came = 0
    for stripe, size in puts:
        part = bytes(min(size, board.left(stripe)))
        await board.put(stripe, part)
        came += len(part)
    board.fail(SourceBroken("the end"))
    taken = 0
    for _ in range(takes):
        try:
            taken += len(await board.take())
        except SourceBroken:
            break
    assert (memory.held, board.end) == (came - taken, taken)
    board.close()
    assert memory.held == 0
    board.close()
    assert memory.held == 0


async def test_what_goes_on_into_an_inflow_has_come_once() -> None:
    """What has come in all says how quick the link of this node is."""
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE) as inflow, inflows.in_stripes(DIGEST, WHOLE) as board:
        for stripe, part in enumerate(PARTS):
            await board.put(stripe, part)
            assert inflows.total == inflows.memory.held
        assert inflows.total == len(DATA)
        while data := await board.take():
            inflow.take(data)
            assert inflows.memory.held == len(DATA)
        assert inflows.total == len(DATA)
        with inflows.in_stripes(DIGEST, WHOLE) as another:
            await another.put(0, DATA[:5])
    assert (inflows.total, inflows.memory.held) == (len(DATA) + 5, 0)


# For followers


async def test_followers_are_told_of_whole_pieces_and_of_the_last() -> None:
    board, _, told = board_of(Span.whole(ROW_BYTES + 2))
    await board.put(0, b"x" * (PIECE_BYTES - 1))
    assert (board.told(0), bytes(board.after(0, 0)), told.times) == (0, b"", 0)
    await board.put(0, b"yz")
    assert (board.told(0), bytes(board.after(0, PIECE_BYTES - 1)), told.times) == (PIECE_BYTES, b"y", 1)
    await board.put(0, b"!")
    assert (board.told(0), bytes(board.after(0, PIECE_BYTES)), told.times) == (PIECE_BYTES + 2, b"z!", 2)


async def test_a_piece_that_came_bit_by_bit_is_given_as_one() -> None:
    board, _, told = board_of(WHOLE)
    for chunk in cut(PARTS[3], [10_000]):
        await board.put(3, chunk)
    assert told.stripes == [3] * 3
    assert board.after(3, PIECE_BYTES) == PARTS[3][PIECE_BYTES : 2 * PIECE_BYTES]
    assert board.after(3, 5) == PARTS[3][5:PIECE_BYTES]


async def test_the_receiver_is_woken_by_no_stripe_but_the_next_one() -> None:
    board, _, _ = board_of()
    taking = asyncio.create_task(board.take())
    await asyncio.sleep(0)
    await board.put(1, PARTS[1])
    assert not board._more.is_set()
    await board.put(0, b"x")
    assert await taking == b"x"


class Woken:
    """Counts how often a follower is woken."""

    def __init__(self) -> None:
        self.times = 0

    async def wait(self) -> None:
        raise AssertionError("nobody waits here")

    def tell(self) -> None:
        self.times += 1


async def test_a_piece_of_a_stripe_wakes_only_those_that_follow_this_stripe() -> None:
    inflows = Inflows()
    third, fifth, whole = Woken(), Woken(), Woken()
    with (
        inflows.watching(DIGEST, third, 3),
        inflows.watching(DIGEST, fifth, 5),
        inflows.watching(DIGEST, whole),
        inflows.flowing(DIGEST, WHOLE) as inflow,
    ):
        with inflows.in_stripes(DIGEST, WHOLE) as board:
            await board.put(3, PARTS[3][:PIECE_BYTES])
            assert (third.times, fifth.times, whole.times) == (1, 0, 0)
            await board.put(0, PARTS[0][:PIECE_BYTES])
            inflow.take(await board.take())
            assert (third.times, fifth.times, whole.times) == (1, 0, 1)
            board.fail(SourceBroken("the peer is gone"))
            assert (third.times, fifth.times, whole.times) == (2, 1, 1)
        before = third.times, fifth.times
        inflow.take(DATA[PIECE_BYTES : 2 * PIECE_BYTES])
        assert (third.times, fifth.times) == (before[0] + 1, before[1] + 1)


@settings(max_examples=25)
@given(SPANS, st.integers(0, STRIPES - 1), CHUNKS, st.integers(0, 12), st.data())
async def test_after_a_position_are_the_bytes_from_there_on_while_they_are_here(
    span: Span, stripe: int, sizes: list[int], takes: int, data: st.DataObject
) -> None:
    board, _, _ = board_of(span)
    for number, part in enumerate(within(PARTS, span)):
        chunks = cut(part, sizes)
        come = data.draw(st.integers(0, len(chunks))) if number == stripe else len(chunks)
        await give(board, number, chunks[:come])
    board.fail(SourceBroken("no more"))
    for _ in range(takes):
        if has_next(board):
            await board.take()
    whole = PARTS[stripe]
    first = reach(stripe, board.end)
    position = data.draw(st.integers(0, len(whole) + 1))
    given_bytes = bytes(board.after(stripe, position))
    if first <= position < board.told(stripe):
        assert given_bytes
        assert whole[position:].startswith(given_bytes)
        assert position + len(given_bytes) <= board.told(stripe)
    else:
        assert not given_bytes


async def test_what_was_given_to_a_follower_stays_right_when_it_is_taken_and_closed() -> None:
    board, _, _ = board_of()
    await board.put(0, DATA[:PIECE_BYTES])
    view = board.after(0, 5)
    await board.take()
    assert not board.after(0, 5)
    board.close()
    assert bytes(view) == DATA[5:PIECE_BYTES]


# Ends


async def test_the_receiver_gets_what_is_in_order_before_it_hears_of_a_failure() -> None:
    board, _, told = board_of()
    await board.put(0, DATA[:9])
    await board.put(1, DATA[PIECE_BYTES : PIECE_BYTES + 9])
    board.fail(SourceBroken("the peer is gone"))
    assert told.times == 1
    assert bytes(await board.take()) == DATA[:9]
    for _ in range(2):
        with pytest.raises(SourceBroken, match="the peer is gone"):
            await board.take()


async def test_a_receiver_that_waits_hears_of_a_failure() -> None:
    board, _, _ = board_of()
    taking = asyncio.create_task(board.take())
    await asyncio.sleep(0)
    board.fail(SourceBroken("the peer is gone"))
    with pytest.raises(SourceBroken, match="the peer is gone"):
        await taking


async def test_of_two_boards_the_latest_is_seen_and_none_when_they_have_ended() -> None:
    inflows = Inflows()
    with inflows.in_stripes(DIGEST, WHOLE) as first:
        await first.put(0, DATA[:5])
        with inflows.in_stripes(DIGEST, Span(7, 9)) as later:
            assert inflows.board_of(DIGEST) is later
            assert inflows.board_of(Digest.of(b"other")) is None
        assert inflows.board_of(DIGEST) is None
    assert inflows.board_of(DIGEST) is None
    assert inflows.memory.held == 0


async def test_a_board_that_ends_first_does_not_hide_the_later_one() -> None:
    inflows = Inflows()
    with ExitStack() as stack:
        stack.enter_context(inflows.in_stripes(DIGEST, WHOLE))
        with inflows.in_stripes(DIGEST, WHOLE) as later:
            stack.close()
            assert inflows.board_of(DIGEST) is later
