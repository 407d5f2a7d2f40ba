"""A stripe of arriving content is given from where its bytes are: the board, the inflow, the file."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, aclosing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryd.aio.file_events import FileEvents
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.file import FileBody
from registryd.transfer.growing import Arriving, StripeBody, WholeStripeBody, stripe_reach, watching_arrival
from registryd.transfer.inflow import Inflows
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES, reach
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import stripe_bytes
from tests.transfer.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from registryd.transfer.inflow import Inflow
    from registryd.transfer.stripe_board import StripeBoard

DATA = os.urandom(4 * ROW_BYTES + 3 * PIECE_BYTES + 5)
SIZE = len(DATA)
PARTS = [stripe_bytes(DATA, stripe) for stripe in range(STRIPES)]
DIGEST = Digest.of(DATA)
STALL = 0.15


class Node:
    """Content that arrives in stripes; each step is one that the agent, or containerd, takes by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inflows = Inflows()
        self._events = FileEvents()
        self._written = 0

    @contextmanager
    def receiving(self, span: Span | None = None) -> Iterator[tuple[Inflow, StripeBoard]]:
        span = span or Span.whole(SIZE)
        self._written = span.start
        with self.inflows.flowing(DIGEST, span) as inflow, self.inflows.in_stripes(DIGEST, span) as board:
            yield inflow, board

    @property
    def board(self) -> StripeBoard:
        board = self.inflows.board_of(DIGEST)
        assert board is not None
        return board

    @property
    def inflow(self) -> Inflow:
        inflow = self.inflows.of(DIGEST)
        assert inflow is not None
        return inflow

    async def come(self, stripe: int, count: int = SIZE) -> None:
        """More of a stripe comes onto the board."""
        came = self.board.reached[stripe]
        await self.board.put(stripe, PARTS[stripe][came : came + count])

    async def pass_on(self) -> None:
        """What is next goes from the board into the inflow."""
        board = self.board
        while board.end < SIZE and board.reached[board.wanted] > reach(board.wanted, board.end):
            self.inflow.take(await board.take())

    async def write(self, count: int = SIZE) -> None:
        """As containerd, take from the inflow and write to the file."""
        stop = min(self.inflow.end, self._written + count)
        await self.inflow.send(Span(self._written, stop), sink := FakeSink())
        self._written = stop
        self.append(bytes(sink.data))

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    async def finish(self) -> None:
        for stripe in range(STRIPES):
            await self.come(stripe)
        await self.pass_on()
        await self.write()

    def body(self, stripe: int, span: Span | None = None, *, stall_timeout: float = 10.0) -> StripeBody:
        watching = partial(watching_arrival, digest=DIGEST, events=self._events, inflows=self.inflows, stripe=stripe)
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        span = span or Span.whole(len(PARTS[stripe]))
        return StripeBody(fd, stripe, span, watching, size=SIZE, stall_timeout=stall_timeout)

    def reach_of(self, stripe: int) -> int:
        """What this node tells others that it has of the stripe."""
        size = self.path.stat().st_size
        return stripe_reach(stripe, size, self.inflows.of(DIGEST), self.inflows.board_of(DIGEST))


class Follower:
    """Gets a stripe from this node."""

    def __init__(self, stripe: int, sink: FakeSink, sending: asyncio.Task[None]) -> None:
        self.sink = sink
        self.sending = sending
        self._stripe = stripe

    async def has(self, count: int) -> bool:
        async with asyncio.timeout(30):
            while self.sink.sent < count and not self.sending.done():  # noqa: ASYNC110 - a sink has no event
                await asyncio.sleep(0.001)
        return self.sink.data == PARTS[self._stripe][:count]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return started(tmp_path)


def started(folder: Path) -> Node:
    path = folder / "data"
    path.touch()
    return Node(path)


class Following:
    """Starts followers, which end with the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def __call__(self, body: StripeBody, stripe: int) -> Follower:
        await self._stack.enter_async_context(aclosing(body))
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        self._stack.push_async_callback(ended, sending)
        return Follower(stripe, sink, sending)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def follow() -> AsyncIterator[Following]:
    async with AsyncExitStack() as stack:
        yield Following(stack)


# Where the bytes are

STEPS = st.one_of(
    st.tuples(st.just("come"), st.integers(0, STRIPES - 1), st.integers(10_000, 5 * PIECE_BYTES)),
    st.tuples(st.just("pass on"), st.just(0), st.just(0)),
    st.tuples(st.just("write"), st.just(0), st.integers(100_000, 2 * ROW_BYTES)),
    st.tuples(st.just("wait"), st.just(0), st.integers(1, 20)),
)


@settings(max_examples=12)
@given(st.lists(STEPS, max_size=40), st.integers(0, len(PARTS[-1]) - 1))
async def test_followers_get_exactly_their_stripe_however_it_goes_on(
    steps: list[tuple[str, int, int]], start: int
) -> None:
    with TemporaryDirectory() as folder:
        node = started(Path(folder))
        with node.receiving():
            async with AsyncExitStack() as stack:
                follow = Following(stack)
                whole = [await follow(node.body(stripe), stripe) for stripe in range(STRIPES)]
                later = [
                    await follow(node.body(stripe, Span(start, len(PARTS[stripe]))), stripe)
                    for stripe in range(STRIPES)
                ]
                for kind, stripe, count in steps:
                    if kind == "come":
                        await node.come(stripe, count)
                    elif kind == "pass on":
                        await node.pass_on()
                    elif kind == "write":
                        await node.write(count)
                    else:
                        for _ in range(count):
                            await asyncio.sleep(0)
                    for follower in (*whole, *later):
                        assert not follower.sending.done() or follower.sending.exception() is None
                await node.finish()
                async with asyncio.timeout(30):
                    await asyncio.gather(*(follower.sending for follower in (*whole, *later)))
        for stripe in range(STRIPES):
            assert whole[stripe].sink.data == PARTS[stripe]
            assert later[stripe].sink.data == PARTS[stripe][start:]


async def test_a_follower_waits_for_nobody_else(node: Node, follow: Following) -> None:
    """Of a stripe is given what has come, though the content is not whole up to there."""
    with node.receiving():
        follower = await follow(node.body(5), 5)
        await node.come(5, 3 * PIECE_BYTES)
        assert await follower.has(3 * PIECE_BYTES)
        assert node.reach_of(5) == 3 * PIECE_BYTES
        assert [node.reach_of(stripe) for stripe in (0, 4, 6)] == [0, 0, 0]


async def test_what_came_bit_by_bit_is_sent_piece_by_piece(node: Node, follow: Following) -> None:
    """Each write costs a follower, and all below it, as much as some hundred KiB do."""
    with node.receiving():
        followers = [await follow(node.body(stripe), stripe) for stripe in (0, 5)]
        for number in range(4):
            for _ in range(10):
                await node.come(0, PIECE_BYTES // 10 + 1)
                await node.come(5, PIECE_BYTES // 10 + 1)
                if number % 2:
                    await node.pass_on()
            for follower in followers:
                assert await follower.has((number + 1) * PIECE_BYTES)
        assert [follower.sink.writes for follower in followers] == [4, 4]


async def test_it_goes_on_in_the_inflow_and_then_in_the_file(node: Node, follow: Following) -> None:
    with node.receiving() as (inflow, board):
        for stripe in range(STRIPES):
            await node.come(stripe, 2 * PIECE_BYTES)
        await node.pass_on()
        assert not board.after(3, 0)
        assert (await (await follow(node.body(3), 3)).has(2 * PIECE_BYTES), node.path.stat().st_size) == (True, 0)
        for stripe in range(STRIPES):
            await node.come(stripe, 2 * PIECE_BYTES)
        await node.pass_on()
        await node.write()
        assert inflow.start > 2 * ROW_BYTES
        assert await (await follow(node.body(3), 3)).has(4 * PIECE_BYTES)


async def test_what_is_between_memory_and_the_file_is_waited_for(node: Node, follow: Following) -> None:
    """Bytes that were sent to containerd long ago, which has not written them: a client that reads slowly."""
    with node.receiving() as (inflow, _):
        for stripe in range(STRIPES):
            await node.come(stripe)
        await node.pass_on()
        await inflow.send(Span.whole(SIZE), FakeSink())
        assert inflow.start > 2 * ROW_BYTES
        follower = await follow(node.body(1), 1)
        await asyncio.sleep(0.05)
        assert follower.sink.sent == 0
        node.append(DATA[: ROW_BYTES + 2 * PIECE_BYTES - 7])
        assert await follower.has(2 * PIECE_BYTES - 7)
        node.append(DATA[ROW_BYTES + 2 * PIECE_BYTES - 7 :])
        await follower.sending
        assert follower.sink.data == PARTS[1]


async def test_what_waits_for_the_file_does_not_keep_the_loop_busy(node: Node, follow: Following) -> None:
    with node.receiving() as (inflow, board):
        for stripe in range(STRIPES):
            await node.come(stripe)
        await node.pass_on()
        await inflow.send(Span.whole(SIZE), FakeSink())
        changes = Counting()

        @contextmanager
        def watching(fd: int) -> Iterator[Arriving]:
            yield Arriving(fd, lambda: inflow, changes, board=lambda: board)

        fd = os.open(node.path, os.O_RDONLY | os.O_CLOEXEC)
        follower = await follow(StripeBody(fd, 1, Span.whole(len(PARTS[1])), watching, size=SIZE), 1)
        async with asyncio.timeout(30):
            while not changes.waits:  # noqa: ASYNC110 - the counting is the test's own
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert changes.waits == 1
        assert not follower.sending.done()


class Counting:
    """Changes that do not come."""

    def __init__(self) -> None:
        self.waits = 0

    async def wait(self) -> None:
        self.waits += 1
        await asyncio.Event().wait()

    def tell(self) -> None:
        raise AssertionError("nothing changes")


async def test_a_follower_in_the_kernels_way_gets_its_stripe_from_all_three(node: Node) -> None:
    with node.receiving():
        for stripe in range(STRIPES):
            await node.come(stripe, 2 * PIECE_BYTES)
        await node.pass_on()
        await node.write(ROW_BYTES + PIECE_BYTES)
        await node.come(2, PIECE_BYTES)
        async with aclosing(node.body(2)) as body:
            with receiver() as got:
                sending = asyncio.create_task(body.send_to(got.sink))
                assert await got.read(3 * PIECE_BYTES) == PARTS[2][: 3 * PIECE_BYTES]
                finishing = asyncio.create_task(node.finish())
                assert await got.read(len(PARTS[2]) - 3 * PIECE_BYTES) == PARTS[2][3 * PIECE_BYTES :]
                await sending
                await finishing
                assert got.sink.sent == body.length == len(PARTS[2])


async def test_a_span_of_a_stripe(node: Node, follow: Following) -> None:
    span = Span(PIECE_BYTES - 3, 2 * PIECE_BYTES + 9)
    with node.receiving():
        follower = await follow(node.body(6, span), 6)
        await node.finish()
        await follower.sending
    assert follower.sink.data == PARTS[6][span.start : span.stop]


# What is told


async def test_where_the_file_has_not_come_so_far_the_board_tells_of_nothing(node: Node) -> None:
    """containerd may write the beginning a second time, or in parts of which only the first is known to be right."""
    node.append(DATA[:10])
    with node.receiving(Span(2 * ROW_BYTES, SIZE)):
        await node.come(4, PIECE_BYTES)
        assert node.reach_of(0) == 10
        assert node.reach_of(4) == 0
        node.append(DATA[10 : 2 * ROW_BYTES])
        assert node.reach_of(0) == 2 * PIECE_BYTES
        assert node.reach_of(4) == 3 * PIECE_BYTES


async def test_what_came_before_in_another_way_is_in_the_file(node: Node, follow: Following) -> None:
    start = ROW_BYTES + PIECE_BYTES + 77
    node.append(DATA[:start])
    with node.receiving(Span(start, SIZE)):
        followers = [await follow(node.body(stripe), stripe) for stripe in range(STRIPES)]
        assert await followers[1].has(PIECE_BYTES + 77)
        await node.finish()
        await asyncio.gather(*(follower.sending for follower in followers))
    assert [follower.sink.data for follower in followers] == PARTS


# Ends


async def test_when_the_stripes_fail_followers_hear_at_once(node: Node, follow: Following) -> None:
    with node.receiving() as (_, board):
        follower = await follow(node.body(2), 2)
        await node.come(2, PIECE_BYTES)
        assert await follower.has(PIECE_BYTES)
        board.fail(SourceBroken("the peer is gone"))
        with pytest.raises(SourceBroken, match="do not come any more: the peer is gone"):
            await asyncio.wait_for(follower.sending, 10)


async def test_when_all_has_come_followers_get_the_rest(node: Node, follow: Following) -> None:
    with node.receiving() as (_, board):
        follower = await follow(node.body(2), 2)
        for stripe in range(STRIPES):
            await node.come(stripe)
        board.fail(SourceBroken("nobody gives more of it"))
        await node.pass_on()
        await asyncio.wait_for(follower.sending, 10)
    assert follower.sink.data == PARTS[2]


async def test_who_comes_when_it_goes_on_as_a_whole_follows_that(node: Node, follow: Following) -> None:
    with node.inflows.flowing(DIGEST, Span.whole(SIZE)) as inflow:
        with node.inflows.in_stripes(DIGEST, Span.whole(SIZE)) as board:
            await node.come(0, 100)
            await node.pass_on()
            before = await follow(node.body(0), 0)
            await asyncio.sleep(0.01)
            board.fail(SourceBroken("the peer is gone"))
        with pytest.raises(SourceBroken):
            await asyncio.wait_for(before.sending, 10)
        assert node.reach_of(0) == 0  # less than a step
        later = await follow(node.body(0), 0)
        inflow.take(DATA[100:])
        await later.sending
    assert later.sink.data == PARTS[0]


async def test_a_board_that_ends_is_followed_by_the_file(node: Node, follow: Following) -> None:
    with node.receiving():
        follower = await follow(node.body(7), 7)
        await node.come(7, PIECE_BYTES)
        assert await follower.has(PIECE_BYTES)
        await node.come(7, PIECE_BYTES)
    assert node.reach_of(7) == 0
    node.append(DATA)
    await follower.sending
    assert follower.sink.data == PARTS[7]


async def test_what_stays_as_it_is_is_given_up(node: Node, follow: Following) -> None:
    with node.receiving():
        await node.come(3, PIECE_BYTES)
        follower = await follow(node.body(3, stall_timeout=STALL), 3)
        with pytest.raises(SourceBroken, match=f"no byte after the first {PIECE_BYTES} arrived"):
            await follower.sending
    assert follower.sink.data == PARTS[3][:PIECE_BYTES]


async def test_what_does_not_come_to_the_file_is_given_up(node: Node, follow: Following) -> None:
    with node.receiving() as (inflow, _):
        for stripe in range(STRIPES):
            await node.come(stripe)
        await node.pass_on()
        await inflow.send(Span.whole(SIZE), FakeSink())
        follower = await follow(node.body(0, stall_timeout=STALL), 0)
        with pytest.raises(SourceBroken, match="no byte after the first 0 arrived"):
            await follower.sending


async def test_other_stripes_are_no_progress(node: Node, follow: Following) -> None:
    with node.receiving():
        follower = await follow(node.body(3, stall_timeout=STALL), 3)
        for _ in range(100):
            await node.come(4, 1000)
            node.path.touch()
            await asyncio.sleep(STALL / 15)
            if follower.sending.done():
                break
        with pytest.raises(SourceBroken, match="no byte after the first 0"):
            await asyncio.wait_for(follower.sending, 0)


async def test_changes_that_bring_no_byte_to_the_file_are_no_progress(node: Node, follow: Following) -> None:
    with node.receiving() as (inflow, _):
        for stripe in range(STRIPES):
            await node.come(stripe)
        await node.pass_on()
        await inflow.send(Span.whole(SIZE), FakeSink())
        follower = await follow(node.body(0, stall_timeout=STALL), 0)
        for _ in range(100):
            node.path.touch()
            await asyncio.sleep(STALL / 15)
            if follower.sending.done():
                break
        with pytest.raises(SourceBroken, match="no byte after the first 0"):
            await asyncio.wait_for(follower.sending, 0)


async def test_a_file_that_is_given_up(node: Node, follow: Following) -> None:
    with node.receiving():
        await node.come(2, PIECE_BYTES)
        follower = await follow(node.body(2), 2)
        assert await follower.has(PIECE_BYTES)
        node.path.unlink()
        with pytest.raises(SourceBroken, match="given up after 0 bytes"):
            await asyncio.wait_for(follower.sending, 10)


async def test_a_receiver_that_goes_away_and_one_that_is_cancelled(node: Node) -> None:
    with node.receiving():
        await node.come(2, PIECE_BYTES)
        async with aclosing(node.body(2)) as body:
            with pytest.raises(SinkClosed):
                await body.send_to(FakeSink(closes_after=10))
        body = node.body(2)
        sending = asyncio.create_task(body.send_to(FakeSink()))
        await asyncio.sleep(0.01)
        await ended(sending)
        await body.aclose()
        await body.aclose()
        with pytest.raises(ValueError, match="closed"):
            await body.send_to(FakeSink())


# Of content that is whole


def whole_body(path: Path, stripe: int, span: Span, *, size: int = SIZE) -> WholeStripeBody:
    file = FileBody(os.open(path, os.O_RDONLY | os.O_CLOEXEC), Span.whole(size))
    return WholeStripeBody(file, stripe, span, size=size)


@pytest.mark.parametrize("stripe", range(STRIPES))
async def test_a_stripe_of_a_whole_file(tmp_path: Path, stripe: int) -> None:
    (tmp_path / "data").write_bytes(DATA)
    span = Span(3, len(PARTS[stripe]))
    async with aclosing(whole_body(tmp_path / "data", stripe, span)) as body:
        await body.send_to(sink := FakeSink())
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(span.length) == PARTS[stripe][3:]
            await sending
            assert got.sink.sent == body.length == span.length
    assert sink.data == PARTS[stripe][3:]


async def test_a_stripe_of_a_file_that_is_shorter_than_its_content_is_broken(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA[: ROW_BYTES + 5])
    async with aclosing(whole_body(tmp_path / "data", 0, Span.whole(len(PARTS[0])))) as body:
        with pytest.raises(SourceBroken, match="the file ends"):
            await body.send_to(sink := FakeSink())
    assert sink.data == PARTS[0][: PIECE_BYTES + 5]


async def test_an_empty_stripe_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA[:5])
    async with aclosing(whole_body(tmp_path / "data", 3, Span(0, 0), size=5)) as body:
        await body.send_to(sink := FakeSink())
    assert sink.sent == body.length == 0


class Either(FakeSink):
    """A receiver that takes bytes from the kernel too, and tells how many it was written."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    @property
    def fd(self) -> int:
        return self._fd

    @property
    def written(self) -> int:
        return len(self.data)


@pytest.fixture
def by_kernel() -> Iterator[Either]:
    fd = os.memfd_create("receiver")
    yield Either(fd)
    os.close(fd)


async def test_a_whole_file_is_not_read_by_calls_that_sleep_in_the_loop(tmp_path: Path, by_kernel: Either) -> None:
    """It may be on a slow disk: what is written was looked for in the cache first, or read by a thread."""
    (tmp_path / "data").write_bytes(DATA)
    async with aclosing(whole_body(tmp_path / "data", 2, Span.whole(len(PARTS[2])))) as body:
        await body.send_to(by_kernel)
    assert by_kernel.written == len(PARTS[2])


async def test_nor_is_what_containerd_wrote_long_ago(node: Node, by_kernel: Either) -> None:
    node.append(DATA)
    async with aclosing(node.body(0)) as body:
        await body.send_to(by_kernel)
    # The first piece is 4 MiB and more behind what was written last, the others have just been written.
    assert by_kernel.written == PIECE_BYTES
