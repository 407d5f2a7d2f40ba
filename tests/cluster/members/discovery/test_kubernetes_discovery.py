"""Following EndpointSlices in virtual time: what is yielded, when, and what is asked of the API server."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.aio.backoff import Backoff
from registryd.cluster.members.discovery.kubernetes.discovery import KubernetesDiscovery
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed
from registryd.cluster.members.discovery.kubernetes.slices import PodLocation
from registryd.notation import Address
from tests.fakes.endpoint_slices import PORT, InProcessSliceApi, Pod, delete_slice, put_slice
from tests.fakes.kubernetes import FakeCluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.looptime

BACKOFF = Backoff(first=1, longest=30, jitter=0)
SETTLE = 0.5
ONE, TWO, THREE = (Address(f"10.0.0.{number}", PORT) for number in (1, 2, 3))


class Rig:
    def __init__(self, *, page_size: int = 0) -> None:
        self.cluster = FakeCluster()
        self.api = InProcessSliceApi(self.cluster, page_size=page_size)
        self.discovery = KubernetesDiscovery(self.api.opened, subject="test", prefer=4, backoff=BACKOFF)
        self.loop = asyncio.get_running_loop()

    @property
    def now(self) -> float:
        return self.loop.time()

    def later(self, seconds: float, action: object, *arguments: object) -> None:
        self.loop.call_later(seconds, action, *arguments)  # type: ignore[arg-type]


async def nothing_for(seconds: float, changes: AsyncGenerator[frozenset[Address], None]) -> None:
    """Assert that nothing is yielded; ends the generator, as a cancelled `anext` does."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await anext(changes)


async def test_the_list_is_yielded_at_once_and_changes_once_they_settle() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == {ONE}
        assert rig.now == 0
        rig.later(10, put_slice, rig.cluster, "a", Pod("10.0.0.1", "node-a"), Pod("10.0.0.2", "node-b"))
        assert await anext(changes) == {ONE, TWO}
        assert rig.now == 10 + SETTLE
        rig.later(1, delete_slice, rig.cluster, "a")
        assert await anext(changes) == frozenset()
    assert rig.api.calls == ["list", "watch 101"]


async def test_an_empty_service_is_an_answer() -> None:
    rig = Rig()
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == frozenset()


async def test_a_pod_that_moves_from_slice_to_slice_never_leaves() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1", "node-a"), Pod("10.0.0.2", "node-b"))
    put_slice(rig.cluster, "b")
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == {ONE, TWO}
        put_slice(rig.cluster, "a", Pod("10.0.0.1", "node-a"))
        rig.later(SETTLE / 2, put_slice, rig.cluster, "b", Pod("10.0.0.2", "node-b"))
        await nothing_for(100, changes)


async def test_a_storm_of_changes_becomes_one_every_half_second() -> None:
    rig = Rig()
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        for number in range(1, 101):
            rig.later(number / 100, put_slice, rig.cluster, f"s{number}", Pod(f"10.0.1.{number}", f"n{number}"))
        sizes = [len(await anext(changes)), len(await anext(changes))]
        assert sizes == [pytest.approx(50, abs=1), 100]


async def test_other_services_and_namespaces_are_not_ours() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    put_slice(rig.cluster, "theirs", Pod("10.0.0.9", "node-z"), service="other")
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == {ONE}


async def test_a_slice_that_is_relabelled_takes_its_peers_with_it() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        put_slice(rig.cluster, "a", Pod("10.0.0.1"), service="other")
        assert await anext(changes) == frozenset()


async def test_long_lists_come_in_pages() -> None:
    rig = Rig(page_size=2)
    for number in range(1, 6):
        put_slice(rig.cluster, f"s{number}", Pod(f"10.0.0.{number}", f"node-{number}"))
    async with aclosing(rig.discovery.watch()) as changes:
        assert len(await anext(changes)) == 5
    assert rig.api.calls[:3] == ["list", "next page", "next page"]


async def test_a_watch_that_ends_is_resumed_where_it_was() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        rig.later(100, rig.cluster.bookmark)
        rig.later(480, rig.cluster.end_watches)
        rig.later(480.1, put_slice, rig.cluster, "b", Pod("10.0.0.2", "node-b"))
        assert await anext(changes) == {ONE, TWO}
        assert rig.now == pytest.approx(480.1 + SETTLE)
    assert rig.api.calls == ["list", "watch 101", "watch 101"]


async def test_a_bookmark_saves_the_list_after_a_compaction() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        put_slice(rig.cluster, "theirs", Pod("10.0.0.9"), service="other")
        rig.later(60, rig.cluster.bookmark)
        rig.later(61, rig.cluster.compact)
        rig.later(480, rig.cluster.end_watches)
        rig.later(490, put_slice, rig.cluster, "b", Pod("10.0.0.2", "node-b"))
        assert await anext(changes) == {ONE, TWO}
    assert rig.api.calls == ["list", "watch 101", "watch 102"]


async def test_what_is_gone_is_listed_anew_and_not_out_of_a_cache() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        rig.cluster.end_watches()
        delete_slice(rig.cluster, "a")
        put_slice(rig.cluster, "b", Pod("10.0.0.2", "node-b"))
        rig.cluster.compact()
        assert await anext(changes) == {TWO}
    assert rig.api.calls == ["list", "watch 101", "fresh list", "watch 103"]


async def test_a_server_that_always_says_gone_is_not_asked_in_a_loop() -> None:
    rig = Rig()
    rig.cluster.compacted = 10**9
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        await nothing_for(60, changes)
    assert rig.api.calls.count("fresh list") == 5  # after 1, 3, 7, 15, 31 seconds


async def test_a_watch_that_ends_at_once_is_not_asked_in_a_loop() -> None:
    rig = Rig()
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        for tenth in range(600):
            rig.later(tenth / 10, rig.cluster.end_watches)
        await nothing_for(59, changes)
    assert len(rig.api.calls) < 12


async def test_an_outage_leaves_everything_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        rig.api.failing = ApiFailed("connection refused")
        rig.cluster.end_watches()
        rig.later(3000, setattr, rig.api, "failing", None)
        rig.later(3000, put_slice, rig.cluster, "b", Pod("10.0.0.2", "node-b"))
        assert await anext(changes) == {ONE, TWO}
        assert 3000 < rig.now <= 3030 + SETTLE
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "list" not in rig.api.calls[1:]


async def test_a_server_that_is_away_at_the_start_is_waited_for() -> None:
    rig = Rig()
    rig.api.failing = ApiFailed("connection refused")
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    rig.later(2, setattr, rig.api, "failing", None)
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == {ONE}
        assert rig.now == 3  # asked after 0, 1 and 3 seconds


async def test_a_server_that_wants_to_be_left_alone_is_within_reason() -> None:
    rig = Rig()
    rig.api.failing = ApiFailed("too many requests", retry_after=10)
    async with aclosing(rig.discovery.watch()) as changes:
        rig.later(9, setattr, rig.api, "failing", None)
        await anext(changes)
        assert rig.now == 10
        rig.api.failing = ApiFailed("too many requests", retry_after=86400)
        rig.cluster.end_watches()
        await nothing_for(100, changes)
    assert len(rig.api.calls) >= 5


async def test_node_and_zone_of_every_peer_are_known_when_it_is_yielded() -> None:
    rig = Rig()
    put_slice(rig.cluster, "a", Pod("10.0.0.1", "node-a", "zone-1"))
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        assert rig.discovery.places == {ONE: PodLocation("node-a", "zone-1")}
        put_slice(rig.cluster, "b", Pod("10.0.0.3", "node-c", "zone-2"))
        await anext(changes)
        assert rig.discovery.places[THREE] == PodLocation("node-c", "zone-2")
        assert rig.discovery.zone_of(THREE.host) == "zone-2"
        assert rig.discovery.zone_of("10.0.0.9") == ""
        put_slice(rig.cluster, "b", Pod("10.0.0.3", "node-c", "no zone's name"), Pod("10.0.0.4", "node-d"))
        await anext(changes)
        assert rig.discovery.zone_of(THREE.host) == ""


async def test_closing_while_it_waits_leaves_nothing() -> None:
    rig = Rig()
    changes = rig.discovery.watch()
    await anext(changes)
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait({waiting})
    await changes.aclose()


async def test_closing_while_a_change_waits_to_be_taken_closes_the_watch() -> None:
    rig = Rig()
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        put_slice(rig.cluster, "a", Pod("10.0.0.1"))
        await asyncio.sleep(1)
        assert rig.api.open_watches == 1
    assert rig.api.open_watches == 0


async def test_a_discovery_can_be_watched_again() -> None:
    rig = Rig()
    async with aclosing(rig.discovery.watch()) as changes:
        await anext(changes)
        await nothing_for(1, changes)
    put_slice(rig.cluster, "a", Pod("10.0.0.1"))
    async with aclosing(rig.discovery.watch()) as changes:
        assert await anext(changes) == {ONE}
