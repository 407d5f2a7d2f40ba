"""What every store must do with content that it is still receiving.

Subclass `GrowingContentContract` in a test module as `Test…` with a fixture `dock`: a store, and the means to let
content arrive in it piece by piece, the way it does in life.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest

from registryd.content.growing import GrowingContent, GrowingSource, NotArrived
from registryd.content.sharing import SharedStore
from registryd.content.source import Content, ContentNotFound, ContentSource, NameSource
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.striping import PIECE_BYTES, STRIPES
from tests.contracts.content_store import always, asked_for, until
from tests.fakes.entitled import Nobodys
from tests.fakes.images import sample_bytes
from tests.fakes.sinks import FakeSink, socket_sink
from tests.fakes.sources import stripe_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from registryd.content.source import OpenContent
    from registryd.transfer.sink import Sink

T = TypeVar("T")

# What containerd writes at a time, and a little: a writer may keep less than that back for a moment.
PIECE = 1024 * 1024 + 7
DATA = sample_bytes(3 * PIECE + 1)
DIGEST = Digest.of(DATA)
SIZE = len(DATA)
ALL = range(STRIPES)


class GrowingStore(ContentSource, GrowingSource, NameSource, Protocol):
    """A store that also gives what it is still receiving."""


class Arrival(Protocol):
    """Content on its way in."""

    async def write(self, data: bytes) -> None:
        """More of it arrives."""

    async def commit(self) -> None:
        """All of it is there: it becomes whole."""

    async def aclose(self) -> None:
        """It is given up, if it is not whole."""


class Dock(Protocol):
    """A store under test, and where content arrives in it."""

    @property
    def store(self) -> GrowingStore:
        """The store, started."""

    async def begin(self, digest: Digest, *, size: int | None) -> Arrival:
        """Let content begin to arrive."""


class GrowingContentContract:
    """The suite: what is told, what is sent, and how it ends."""

    # ---- what is told

    async def test_what_is_not_being_received_is_not_growing(self, dock: Dock) -> None:
        await is_not_growing(dock.store, DIGEST)

    async def test_what_was_asked_for_is_told_before_its_first_byte(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)):
            assert await dock.store.growing(DIGEST) == GrowingContent(DIGEST, SIZE, None, 0)
            with pytest.raises(NotArrived):
                await dock.store.open_growing(DIGEST, Span.whole)

    async def test_what_has_come_is_told(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            for pieces in (1, 2, 3):
                await arrival.write(DATA[(pieces - 1) * PIECE : pieces * PIECE])
                assert await available(dock.store, at_least=pieces * PIECE) == pieces * PIECE

    async def test_it_is_not_whole(self, dock: Dock) -> None:
        """This node's own containerd is never sent what it is receiving itself."""
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[: 2 * PIECE])
            with pytest.raises(ContentNotFound):
                await dock.store.find(DIGEST)
            with pytest.raises(ContentNotFound):
                await dock.store.open(DIGEST, Span.whole)

    async def test_without_a_size_nothing_is_told(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=None)) as arrival:
            await arrival.write(DATA)
            await is_not_growing(dock.store, DIGEST)

    async def test_whole_content_is_not_growing(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA)
            await arrival.commit()
            await is_not_growing(dock.store, DIGEST)

    async def test_what_was_given_up_is_not_growing(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
        await is_not_growing(dock.store, DIGEST)

    # ---- what is sent

    async def test_what_is_there_is_sent_at_once_and_the_rest_as_it_comes(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            opened = await opening(dock.store, Span.whole(SIZE))
            with socket_sink() as sink:
                sending = asyncio.create_task(send(opened, sink))
                assert await sink.read(PIECE) == DATA[:PIECE]
                await arrival.write(DATA[PIECE : 2 * PIECE])
                assert await sink.read(PIECE) == DATA[PIECE : 2 * PIECE]
                await arrival.write(DATA[2 * PIECE :])
                await arrival.commit()
                assert await sink.read(SIZE - 2 * PIECE) == DATA[2 * PIECE :]
                await sending
                assert sink.sent == SIZE

    @pytest.mark.parametrize("span", [Span(0, 1), Span(5, PIECE), Span(PIECE - 1, SIZE), Span(7, 2 * PIECE)], ids=str)
    async def test_span_is_sent(self, dock: Dock, span: Span) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            opened = await opening(dock.store, span)
            assert (opened.span, opened.body.length) == (span, span.length)
            sending = asyncio.create_task(send(opened, sink := FakeSink()))
            await arrival.write(DATA[PIECE:])
            await arrival.commit()
            await sending
            assert sink.data == DATA[span.start : span.stop]

    async def test_what_has_not_come_yet_is_not_opened(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            for first in (PIECE, PIECE + 1, SIZE - 1):
                with pytest.raises(NotArrived):
                    await dock.store.open_growing(DIGEST, always(Span(first, SIZE)))

    async def test_span_outside_is_refused_with_the_size(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            with pytest.raises(RangeInvalid) as caught:
                await dock.store.open_growing(DIGEST, asked_for(f"bytes={SIZE}-").span)
            assert caught.value.size == SIZE

    async def test_many_follow_at_once(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival, AsyncExitStack() as bodies:
            await arrival.write(DATA[:PIECE])
            opened = [await opening(dock.store, Span(start, SIZE)) for start in range(8)]
            for each in opened:
                await bodies.enter_async_context(aclosing(each.body))
            sinks = [FakeSink() for _ in opened]
            sending = [asyncio.create_task(send(each, sink)) for each, sink in zip(opened, sinks, strict=True)]
            await arrival.write(DATA[PIECE:])
            await arrival.commit()
            await asyncio.gather(*sending)
            assert all(sink.data == DATA[start:] for start, sink in enumerate(sinks))

    # ---- waiting

    async def test_waiting_ends_when_more_has_come(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            for pieces in (0, 1, 2):
                waiting = asyncio.create_task(dock.store.wait_grown(DIGEST, beyond=pieces * PIECE))
                await asyncio.sleep(0.01)
                assert not waiting.done()
                await arrival.write(DATA[pieces * PIECE : (pieces + 1) * PIECE])
                assert (await within(10, waiting)).available > pieces * PIECE
            assert (await within(10, dock.store.wait_grown(DIGEST, beyond=0))).available >= 3 * PIECE

    async def test_waiting_for_more_than_all_ends_with_all(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            waiting = asyncio.create_task(dock.store.wait_grown(DIGEST, beyond=SIZE))
            await arrival.write(DATA)
            await asyncio.sleep(0)
            await arrival.commit()
            assert (await within(10, waiting)).available == SIZE

    async def test_waiting_ends_when_it_is_given_up(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)):
            waiting = asyncio.create_task(dock.store.wait_grown(DIGEST, beyond=0))
            await asyncio.sleep(0.01)
        with pytest.raises(ContentNotFound):
            await within(10, waiting)

    # ---- in stripes

    async def test_of_each_stripe_is_told_what_has_come(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            assert (await dock.store.growing_stripe(DIGEST, 0)).available == 0
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            for stripe in range(STRIPES):
                found = await dock.store.growing_stripe(DIGEST, stripe)
                whole, here = (len(stripe_bytes(data, stripe)) for data in (DATA, DATA[:PIECE]))
                assert found == GrowingContent(DIGEST, whole, None, here)

    async def test_stripes_are_sent_as_they_come(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival, AsyncExitStack() as bodies:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            opened = [await dock.store.open_stripe(DIGEST, stripe, asked_for("bytes=7-").span) for stripe in ALL]
            for each in opened:
                assert (each.content.size, each.span.start) == (SIZE, 7)
                await bodies.enter_async_context(aclosing(each.body))
            sinks = [FakeSink() for _ in ALL]
            sending = [asyncio.create_task(send(each, sink)) for each, sink in zip(opened, sinks, strict=True)]
            await arrival.write(DATA[PIECE:])
            await arrival.commit()
            await within(10, asyncio.gather(*sending))
            assert [sink.data for sink in sinks] == [stripe_bytes(DATA, stripe)[7:] for stripe in ALL]

    async def test_waiting_for_a_stripe_ends_when_more_of_it_has_come(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            waiting = asyncio.create_task(dock.store.growing_stripe(DIGEST, 3, beyond=PIECE_BYTES))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            await arrival.write(DATA[PIECE : 2 * PIECE])
            assert (await within(10, waiting)).available == 2 * PIECE_BYTES

    async def test_waiting_for_more_of_a_stripe_than_all_ends_with_all(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            waiting = asyncio.create_task(dock.store.growing_stripe(DIGEST, 7, beyond=2**64 - 1))
            await arrival.write(DATA)
            await asyncio.sleep(0)
            await arrival.commit()
            found = await within(10, waiting)
            assert found.available == found.size == len(stripe_bytes(DATA, 7))

    async def test_waiting_for_a_stripe_ends_when_it_is_given_up(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)):
            waiting = asyncio.create_task(dock.store.growing_stripe(DIGEST, 1, beyond=0))
            await asyncio.sleep(0.01)
        with pytest.raises(ContentNotFound):
            await within(10, waiting)

    async def test_what_has_not_come_of_a_stripe_is_not_opened(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            whole = len(stripe_bytes(DATA, 2))
            for first in (PIECE_BYTES, PIECE_BYTES + 1, whole - 1):
                with pytest.raises(NotArrived):
                    await dock.store.open_stripe(DIGEST, 2, always(Span(first, whole)))
            with pytest.raises(RangeInvalid) as caught:
                await dock.store.open_stripe(DIGEST, 2, asked_for(f"bytes={whole}-").span)
            assert caught.value.size == whole

    # ---- how it ends

    async def test_readers_keep_their_place_when_it_becomes_whole(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[: 2 * PIECE])
            opened = await opening(dock.store, Span.whole(SIZE))
            await arrival.write(DATA[2 * PIECE :])
            await arrival.commit()
            await until(lambda: is_whole(dock.store))
            await send(opened, sink := FakeSink())
            assert sink.data == DATA

    async def test_readers_end_when_it_is_given_up(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            opened = await opening(dock.store, Span.whole(SIZE))
            sending = asyncio.create_task(send(opened, sink := FakeSink()))
            await until(lambda: has(sink, PIECE))
            assert not sending.done()
        with pytest.raises(SourceBroken):
            await within(10, sending)
        assert sink.data == DATA[:PIECE]

    async def test_a_reader_may_go_away(self, dock: Dock) -> None:
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            unsent = await opening(dock.store, Span.whole(SIZE))
            await unsent.body.aclose()
            await unsent.body.aclose()
            with pytest.raises(SinkClosed):
                await send(await opening(dock.store, Span.whole(SIZE)), FakeSink(closes_after=10))
            waiting = asyncio.create_task(send(await opening(dock.store, Span.whole(SIZE)), sink := FakeSink()))
            await until(lambda: has(sink, PIECE))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await arrival.write(DATA[PIECE:])
            await arrival.commit()

    # ---- as peers see it

    async def test_peers_are_given_it_from_the_first_byte_to_the_blob(self, dock: Dock) -> None:
        shared = SharedStore(Nobodys(dock.store), dock.store)
        with pytest.raises(ContentNotFound):
            await shared.find(DIGEST)
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            assert await shared.find(DIGEST) == GrowingContent(DIGEST, SIZE, None, PIECE)
            opened = await shared.open(DIGEST, Span.whole)
            await arrival.write(DATA[PIECE:])
            await arrival.commit()
            await send(opened, sink := FakeSink())
            assert sink.data == DATA
            assert await shared.find(DIGEST) == Content(DIGEST, SIZE, None)

    async def test_peers_are_given_stripes_of_it_from_the_first_byte_to_the_blob(self, dock: Dock) -> None:
        shared = SharedStore(Nobodys(dock.store), dock.store)
        with pytest.raises(ContentNotFound):
            await shared.open_stripe(DIGEST, 0, Span.whole)
        async with aclosing(await dock.begin(DIGEST, size=SIZE)) as arrival:
            await arrival.write(DATA[:PIECE])
            await available(dock.store, at_least=PIECE)
            part = stripe_bytes(DATA, 4)
            found = await shared.stripe(await shared.find(DIGEST), 4)
            assert found == GrowingContent(DIGEST, len(part), None, PIECE_BYTES)
            opened = await shared.open_stripe(DIGEST, 4, Span.whole)
            await arrival.write(DATA[PIECE:])
            await arrival.commit()
            await send(opened, sink := FakeSink())
            assert sink.data == part
            found = await shared.stripe(await shared.find(DIGEST), 4)
            assert found == GrowingContent(DIGEST, len(part), None, len(part))
            await send(await shared.open_stripe(DIGEST, 4, asked_for("bytes=9-").span), sink := FakeSink())
            assert sink.data == part[9:]


# ---- what the suite is written in


async def is_not_growing(store: GrowingStore, digest: Digest) -> None:
    with pytest.raises(ContentNotFound):
        await store.growing(digest)
    with pytest.raises(ContentNotFound):
        await store.open_growing(digest, Span.whole)
    with pytest.raises(ContentNotFound):
        await store.wait_grown(digest, beyond=0)
    with pytest.raises(ContentNotFound):
        await store.growing_stripe(digest, 0)
    with pytest.raises(ContentNotFound):
        await store.growing_stripe(digest, 0, beyond=0)
    with pytest.raises(ContentNotFound):
        await store.open_stripe(digest, 0, Span.whole)


async def available(store: GrowingStore, *, at_least: int) -> int:
    """What is there, as soon as it is so much: a store's writer may be another process."""
    return (await within(10, store.wait_grown(DIGEST, beyond=at_least - 1))).available


async def opening(store: GrowingStore, span: Span) -> OpenContent:
    await available(store, at_least=span.start + 1)
    return await store.open_growing(DIGEST, always(span))


async def send(opened: OpenContent, sink: Sink) -> None:
    async with aclosing(opened.body) as body:
        await body.send_to(sink)


async def has(sink: FakeSink, count: int) -> bool:
    return sink.sent >= count


async def is_whole(store: GrowingStore) -> bool:
    try:
        return (await store.find(DIGEST)).size == SIZE
    except ContentNotFound:
        return False


async def within(seconds: float, waited_for: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await waited_for
