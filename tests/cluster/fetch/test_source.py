from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.members.member import MemberState
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.observability.metrics import FindOutcome
from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.oci.reference import TaggedName
from registryd.transfer.errors import SourceBroken
from tests.cluster.conftest import FIND_TIMEOUT, SHORT, until
from tests.fakes.bodies import BrokenBody
from tests.fakes.doors import Door
from tests.fakes.entitled import sought
from tests.fakes.images import oci_image, sample_bytes
from tests.fakes.peers import BoastingStore, SlowStore, garbling, resetting, silent, unreachable
from tests.fakes.sinks import FakeSink, StuckSink
from tests.fakes.sources import FailingSource, MemorySource

if TYPE_CHECKING:
    from registryd.content.source import OpenContent
    from tests.cluster.conftest import Lab, Node

SMALL = sample_bytes(5000)
LARGE = sample_bytes(3 * 1024 * 1024)


def having(*contents: bytes, media_type: str | None = None) -> MemorySource:
    store = MemorySource()
    for data in contents:
        store.add(Digest.of(data), data, media_type=media_type)
    return store


async def pull(node: Node, data: bytes, wanted: Span | None = None) -> bytes:
    """What a receiver gets of this content."""
    opened = await node.source.open(sought(Digest.of(data)), lambda size: wanted or Span.whole(size))
    return await receive(opened)


async def receive(opened: OpenContent) -> bytes:
    sink = FakeSink()
    try:
        await opened.body.send_to(sink)
    finally:
        await opened.body.aclose()
    return bytes(sink.data)


# Finding


async def test_what_one_peer_has_is_found(lab: Lab) -> None:
    peers = [await lab.good(having()), await lab.good(having(SMALL, media_type="text/plain"))]
    node = await lab.node(*peers)
    content = await node.source.find(sought(Digest.of(SMALL)))
    assert (content.size, content.media_type) == (len(SMALL), "text/plain")
    assert node.record.outcomes == {FindOutcome.FOUND: 1}


async def test_what_nobody_has_is_not_found(lab: Lab) -> None:
    node = await lab.node(*[await lab.good(having()) for _ in range(10)])
    with pytest.raises(ContentNotFound, match="none of 10 peers"):
        await node.source.find(sought(Digest.of(SMALL)))
    assert node.record.outcomes == {FindOutcome.ABSENT: 1}


async def test_without_peers_nothing_is_found(lab: Lab) -> None:
    node = await lab.node()
    with pytest.raises(ContentNotFound):
        await node.source.open(sought(Digest.of(SMALL)), Span.whole)
    assert await node.source.resolve(TaggedName.parse("registry.example/app:v1")) == ()


@pytest.mark.parametrize("character", [silent, garbling, resetting])
async def test_a_bad_peer_does_not_delay_a_hit(lab: Lab, character: object) -> None:
    bad = await lab.start(character())  # type: ignore[operator]
    node = await lab.node(bad, await lab.good(having(SMALL)), greets=False)
    begun = time.monotonic()
    assert await pull(node, SMALL) == SMALL
    assert time.monotonic() - begun < FIND_TIMEOUT


async def test_an_unreachable_peer_does_not_delay_a_hit(lab: Lab) -> None:
    with unreachable() as bad:
        node = await lab.node(bad, await lab.good(having(SMALL)), greets=False)
        assert await pull(node, SMALL) == SMALL


async def test_a_silent_peer_delays_only_the_first_miss(lab: Lab) -> None:
    bad = await lab.start(silent())
    node = await lab.node(bad, await lab.good(having()), greets=False, find_timeout=SHORT)
    for _ in range(2):
        with pytest.raises(ContentUnavailable):
            await node.source.find(sought(Digest.of(SMALL)))
    assert node.state_of(bad) is MemberState.SET_ASIDE
    assert node.record.outcomes == {FindOutcome.TIMEOUT: 1, FindOutcome.ABSENT: 1}


async def test_a_store_out_of_order_is_not_a_peer_out_of_order(lab: Lab) -> None:
    peer = await lab.good(FailingSource())
    node = await lab.node(peer)
    await until(lambda: node.state_of(peer) is MemberState.UP)
    with pytest.raises(ContentUnavailable, match="out of order") as caught:
        await node.source.find(sought(Digest.of(SMALL)))
    assert not isinstance(caught.value, ContentNotFound)
    assert node.state_of(peer) is MemberState.UP
    assert node.record.outcomes == {FindOutcome.ERROR: 1}


async def test_a_time_budget_leaves_nothing_behind(lab: Lab) -> None:
    node = await lab.node(await lab.start(silent()), greets=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await node.source.open(sought(Digest.of(SMALL)), Span.whole)


# Small content: verified


async def test_a_span_of_small_content(lab: Lab) -> None:
    node = await lab.node(await lab.good(having(SMALL)))
    assert await pull(node, SMALL, Span(100, 200)) == SMALL[100:200]


async def test_empty_content(lab: Lab) -> None:
    node = await lab.node(await lab.good(having(b"")))
    assert await pull(node, b"") == b""


async def test_wrong_bytes_are_never_handed_on(lab: Lab) -> None:
    lying = MemorySource()
    lying.add(Digest.of(SMALL), SMALL[::-1])
    node = await lab.node(await lab.good(lying))
    with pytest.raises(ContentUnavailable, match="are not sha256:"):
        await node.source.open(sought(Digest.of(SMALL)), Span.whole)


async def test_a_liar_is_left_for_an_honest_peer_and_not_asked_again(lab: Lab) -> None:
    lying = MemorySource()
    lying.add(Digest.of(SMALL), SMALL[::-1])
    node = await lab.node(await lab.good(lying), await lab.good(SlowStore(having(SMALL), seconds=0.05)))
    assert await pull(node, SMALL) == SMALL
    asked = len(lying.asked)
    assert await pull(node, SMALL) == SMALL
    assert len(lying.asked) == asked


async def test_what_ends_short_is_left_for_another_peer(lab: Lab) -> None:
    short = MemorySource(make_body=lambda data: BrokenBody(data, breaks_after=10))
    short.add(Digest.of(SMALL), SMALL)
    node = await lab.node(await lab.good(short), await lab.good(SlowStore(having(SMALL), seconds=0.05)))
    assert await pull(node, SMALL) == SMALL
    assert short.left_open == 0


async def test_a_manifest_speaks_for_itself(lab: Lab) -> None:
    image = oci_image()
    store = MemorySource()
    store.add(image.target.digest, image.manifest, media_type=OCI_INDEX)
    node = await lab.node(await lab.good(store))
    assert (await node.source.find(sought(image.target.digest))).media_type == OCI_MANIFEST
    opened = await node.source.open(sought(image.target.digest), Span.whole)
    assert opened.content.media_type == OCI_MANIFEST
    assert await receive(opened) == image.manifest


async def test_what_is_no_manifest_is_not_served_as_one(lab: Lab) -> None:
    node = await lab.node(await lab.good(having(SMALL, media_type=OCI_MANIFEST)))
    with pytest.raises(ContentUnavailable, match="offered as a manifest"):
        await node.source.find(sought(Digest.of(SMALL)))


async def test_a_boaster_costs_nothing(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    boaster = await lab.good(BoastingStore(size=2**62, media_type=OCI_MANIFEST))
    node = await lab.node(boaster, await lab.good(SlowStore(having(SMALL), seconds=0.02)))
    assert await pull(node, SMALL) == SMALL


# Large content: by the bytes door


async def test_large_content_comes_through_the_door(lab: Lab) -> None:
    door = Door({Digest.of(LARGE): LARGE})
    port = await lab.start(door.open())
    store = having(LARGE)
    node = await lab.node(await lab.good(store, content_port=port))
    assert await pull(node, LARGE, Span(10, len(LARGE))) == LARGE[10:]
    assert door.requests == [Span(10, len(LARGE))]
    assert not store.opened


async def test_read_stands_in_for_a_door_that_cannot_be_reached(lab: Lab) -> None:
    with unreachable() as nobody:
        store = having(LARGE)
        node = await lab.node(await lab.good(store, content_port=nobody.address.port))
        assert await pull(node, LARGE) == LARGE
        assert await pull(node, LARGE, Span(1, 9)) == LARGE[1:9]
    assert store.left_open == 0


async def test_read_stands_in_for_a_silent_door_which_is_passed_by_from_then_on(lab: Lab) -> None:
    door = Door({Digest.of(LARGE): LARGE}, is_silent=True)
    port = await lab.start(door.open())
    node = await lab.node(await lab.good(having(LARGE), content_port=port), door_timeout=SHORT)
    assert await pull(node, LARGE) == LARGE
    asked = door.connections
    assert await pull(node, LARGE) == LARGE
    assert door.connections == asked


async def test_a_silent_door_does_not_keep_a_second_peer_waiting(lab: Lab) -> None:
    contents = {Digest.of(LARGE): LARGE}
    first = await lab.good(having(LARGE), content_port=await lab.start(Door(contents, is_silent=True).open()))
    second = await lab.good(SlowStore(having(LARGE), seconds=0.02), content_port=await lab.start(Door(contents).open()))
    node = await lab.node(first, second, door_timeout=40)
    begun = time.monotonic()
    opened = await node.source.open(sought(Digest.of(LARGE)), Span.whole)
    assert 0.2 < time.monotonic() - begun < 20  # the patience, and not the time-out of the first
    assert await receive(opened) == LARGE


async def test_a_time_budget_that_ends_while_a_door_is_tried(lab: Lab) -> None:
    door = Door({Digest.of(LARGE): LARGE}, is_silent=True)
    node = await lab.node(await lab.good(having(LARGE), content_port=await lab.start(door.open())))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await node.source.open(sought(Digest.of(LARGE)), Span.whole)


async def test_a_receiver_that_gives_up_leaves_nothing_behind(lab: Lab) -> None:
    store = having(LARGE)
    node = await lab.node(await lab.good(store))
    opened = await node.source.open(sought(Digest.of(LARGE)), Span.whole)
    stuck = StuckSink()
    sending = asyncio.create_task(opened.body.send_to(stuck))
    await stuck.reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await opened.body.aclose()
    await until(lambda: store.left_open == 0)


async def test_a_door_that_refuses_is_not_gone_around(lab: Lab) -> None:
    door = Door({Digest.of(LARGE): LARGE}, status=503)
    port = await lab.start(door.open())
    store = having(LARGE)
    node = await lab.node(await lab.good(store, content_port=port))
    with pytest.raises(ContentUnavailable, match="busy"):
        await node.source.open(sought(Digest.of(LARGE)), Span.whole)
    assert not store.opened


@pytest.mark.parametrize("resets", [False, True])
async def test_another_peer_goes_on_where_one_broke(lab: Lab, *, resets: bool) -> None:
    contents = {Digest.of(LARGE): LARGE}
    broken, whole = Door(contents, stops_after=1_000_000, resets=resets), Door(contents)
    first = await lab.good(having(LARGE), content_port=await lab.start(broken.open()))
    second = await lab.good(SlowStore(having(LARGE), seconds=0.1), content_port=await lab.start(whole.open()))
    node = await lab.node(first, second)
    assert await pull(node, LARGE) == LARGE
    assert [span.stop for span in whole.requests] == [len(LARGE)]
    assert 0 < whole.requests[0].start <= 1_000_000


async def test_when_nobody_is_left_the_body_breaks(lab: Lab) -> None:
    door = Door({Digest.of(LARGE): LARGE}, stops_after=1_000_000)
    node = await lab.node(await lab.good(having(LARGE), content_port=await lab.start(door.open())))
    with pytest.raises(SourceBroken):
        await pull(node, LARGE)
    with pytest.raises(ContentUnavailable):
        await node.source.open(sought(Digest.of(LARGE)), Span.whole)


async def test_a_peer_with_another_size_does_not_go_on(lab: Lab) -> None:
    contents = {Digest.of(LARGE): LARGE}
    broken, other = Door(contents, stops_after=1_000_000), Door({Digest.of(LARGE): LARGE + b"more"})
    liar = MemorySource()
    liar.add(Digest.of(LARGE), LARGE + b"more")
    node = await lab.node(
        await lab.good(having(LARGE), content_port=await lab.start(broken.open())),
        await lab.good(SlowStore(liar, seconds=0.1), content_port=await lab.start(other.open())),
    )
    with pytest.raises(SourceBroken, match="another size"):
        await pull(node, LARGE)
    assert other.requests == []


async def test_busy_peers_come_last(lab: Lab) -> None:
    busy, idle = having(LARGE), having(LARGE)
    node = await lab.node(await lab.good(busy, busy=True), await lab.good(SlowStore(idle, seconds=0.05)))
    assert await pull(node, LARGE) == LARGE
    assert not busy.opened


async def test_a_busy_peer_is_better_than_none(lab: Lab) -> None:
    node = await lab.node(await lab.good(having(LARGE), busy=True), await lab.good(having()))
    assert await pull(node, LARGE) == LARGE


async def test_closing_an_unsent_body_ends_the_read(lab: Lab) -> None:
    store = having(LARGE)
    node = await lab.node(await lab.good(store))
    opened = await node.source.open(sought(Digest.of(LARGE)), Span.whole)
    await opened.body.aclose()
    await until(lambda: store.left_open == 0)


async def test_a_range_outside_of_the_content(lab: Lab) -> None:
    def outside(size: int) -> Span:
        raise RangeInvalid("outside", size=size)

    node = await lab.node(await lab.good(having(LARGE)), await lab.good(having(LARGE)))
    with pytest.raises(RangeInvalid) as caught:
        await node.source.open(sought(Digest.of(LARGE)), outside)
    assert caught.value.size == len(LARGE)


# Names


async def test_names_are_gathered_from_all(lab: Lab) -> None:
    old, new = oci_image(), oci_image(layers=(b"newer",))
    stores = [MemorySource(), MemorySource(), MemorySource()]
    stores[0].add_image(old, seen_at=1000.0)
    stores[1].add_image(new, seen_at=2000.0)
    node = await lab.node(*[await lab.good(store) for store in stores], await lab.good(FailingSource()))
    known = await node.source.resolve(old.name)
    assert {(named.target, named.seen_at) for named in known} == {(old.target, 1000.0), (new.target, 2000.0)}


async def test_nobody_has_seen_the_future(lab: Lab) -> None:
    store = MemorySource()
    store.add_image(oci_image(), seen_at=time.time() + 1e6)
    node = await lab.node(await lab.good(store))
    [named] = await node.source.resolve(oci_image().name)
    assert named.seen_at <= time.time()


async def test_names_when_no_peer_can_say(lab: Lab) -> None:
    node = await lab.node(await lab.good(FailingSource()))
    with pytest.raises(ContentUnavailable):
        await node.source.resolve(oci_image().name)
