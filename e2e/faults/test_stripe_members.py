"""No fault of a member that passes on a stripe makes the pull of another node fail, or takes it much longer."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from e2e.faults import stripe_faults as faults
from e2e.faults.holder import NOTHING, Holder, Holdings, settled
from e2e.faults.outcome import StripedOutcome
from e2e.stripe_stage import (
    LAYER_BYTES,
    PATIENCE,
    STRIPED,
    NotTogether,
    copies,
    gets_stripes,
    is_buffer_in_use,
    log_of,
    require_stripes,
    striped_image,
    tries,
    wait_under_way,
    wave,
)
from lab.errors import LabError, PullError
from lab.images import MIB
from lab.leftovers import workspace
from lab.roles import fetcher_of, index_node_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from e2e.faults.stripe_faults import Fault, Wave
    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

NODES: Final = 8
# Each with another image: what is tested happens only when nodes ask at the same moment.
TRIES: Final = 4
# How much longer than without a fault the last of the other nodes may take, on a machine that is busy with other tests.
LIMIT_TIMES: Final = 8.0
# Tasks that come and go.
_OF_A_MOMENT: Final = 2
FAULTS: Final = {
    "wrong-bytes": faults.WrongBytes,
    "stands-still": faults.StandsStill,
    "dies": faults.Dies,
    "gives-up": faults.GivesUp,
    "loses-image": faults.LosesImage,
    "disk-full": faults.DiskIsFull,
    "all-die": faults.AllDie,
}


@dataclass
class StripeField:
    """Nodes that have got a layer in stripes once, without a fault."""

    cluster: Cluster
    folder: Path
    first: Holdings
    """What an agent held at most before that."""
    seconds: float = 0.0
    """How long the last of them took."""
    number: itertools.count[int] = field(default_factory=itertools.count)

    def image(self) -> Image:
        return striped_image(self.folder / f"image{(number := next(self.number))}", tag=f"stripes{number}")

    def holders(self) -> list[Holder]:
        return [Holder(node.host.name, node) for node in self.cluster.nodes]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stripe_field(newest: Release) -> AsyncIterator[StripeField]:
    async with workspace() as folder, wave(newest, folder / "secret", nodes=NODES) as cluster:
        stripes = StripeField(cluster, folder, NOTHING)
        held = await asyncio.gather(*(holder.holdings() for holder in stripes.holders()))
        # Tasks of a moment come and go.
        stripes.first = Holdings(
            max(each.descriptors for each in held), max(each.tasks for each in held) + _OF_A_MOMENT
        )
        print(stripes.first)
        stripes.seconds = (await went(stripes, faults.Fault)).seconds
        yield stripes


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_member_that_goes_wrong_fails_no_pull_of_another(
    stripe_field: StripeField, put_down_striped: Callable[[StripedOutcome], None], fault: str
) -> None:
    outcome = await went(stripe_field, FAULTS[fault])
    put_down_striped(outcome)
    assert outcome.seconds < outcome.limit_seconds


async def went(stripes: StripeField, kind: type[Fault]) -> StripedOutcome:
    for number in range(1, TRIES + 1):
        try:
            return await one_wave(stripes, kind())
        except NotTogether as reason:
            print(f"try {number}: {reason}")
            if number == TRIES:
                raise
    raise AssertionError


async def one_wave(stripes: StripeField, fault: Fault) -> StripedOutcome:
    cluster, image = stripes.cluster, stripes.image()
    layer = image.local.layers[0].digest
    reference = await cluster.push(image, f"demo/{image.tag}")
    victim = next(node for node in cluster.nodes if node is not index_node_of(cluster, layer))
    it = faults.Wave(cluster, victim, reference, layer)
    await fault.prepare(it)
    try:
        await cluster.wait_acquainted()
        cluster.origin.forget_requests()
        async with pulling(it, fault) as began:
            await wait_under_way(cluster, layer)
            if not gets_stripes(victim, layer) or fetcher_of(cluster, layer) is victim:
                raise NotTogether("the member that is to go wrong passes no stripe on")
            await settled(lambda: is_in_the_middle(it), f"{victim.host.name} passes nothing on")
            if not 0 <= victim.containerd.arrived(layer) < LAYER_BYTES / 2:
                raise NotTogether("it has most of the layer already")
            print(f"{victim.host.name} has {victim.containerd.arrived(layer)} bytes")
            await fault.strike(it)
            outcome = await finished(stripes, it, fault, began)
    finally:
        await fault.mend(it)
    await cluster.wait_acquainted()  # an agent has a task for each member that is not there
    await require_nothing_left(stripes, it, fault)
    await asyncio.gather(*(node.remove(reference, layer) for node in cluster.nodes))
    return outcome


async def is_in_the_middle(it: Wave) -> bool:
    """Whether the member that is to go wrong has something of each stripe, and others get one from it."""
    named = re.compile(rf"{it.layer} {STRIPED}.*\b{re.escape(it.victim.host.ipv4)}:")
    others = [node for node in it.cluster.nodes if node is not it.victim]
    return it.victim.containerd.arrived(it.layer) >= MIB and any(named.search(log_of(node)) for node in others)


@asynccontextmanager
async def pulling(it: Wave, fault: Fault) -> AsyncIterator[float]:
    """All nodes pull, the one that goes wrong the last of them; yields when they began."""
    began = time.monotonic()

    async def pull(node: Node) -> float:
        count = await tries(node, it.reference, it.layer)
        assert 0 < count <= fault.tries, f"{node.host.name} needed {count} tries"
        return time.monotonic() - began

    for node in sorted(it.cluster.nodes, key=lambda node: node is it.victim):
        it.pulls[node.host.name] = asyncio.create_task(pull(node))
    try:
        yield began
    finally:
        for task in it.pulls.values():
            task.cancel()
        await asyncio.wait(it.pulls.values())


async def finished(stripes: StripeField, it: Wave, fault: Fault, began: float) -> StripedOutcome:
    """When all have what they are to have."""
    own = it.pulls[it.victim.host.name]
    others = await asyncio.gather(*(task for task in it.pulls.values() if task is not own))
    seconds = max(others)
    await fault.relieve(it)
    with_own = await own_pull(own, fault)
    print(f"{fault.does}: others {[round(each, 1) for each in sorted(others)]}, own {with_own}")
    require_stripes(it.cluster, it.layer)
    usual = stripes.seconds or seconds
    count = copies(it.cluster, it.layer)
    return StripedOutcome(fault.does, NODES, LIMIT_TIMES * usual, seconds, usual, count, with_own)


async def own_pull(own: asyncio.Task[float], fault: Fault) -> str:
    """What became of the pull of the member that went wrong."""
    if not fault.fails_with:
        return f"{await own:.1f} s"
    if fault.fails_with == faults.GIVEN_UP:
        await asyncio.wait([own])
        assert own.cancelled()
        return "is given up"
    with pytest.raises(PullError, match=fault.fails_with):
        await own
    return "fails"


async def require_nothing_left(stripes: StripeField, it: Wave, fault: Fault) -> None:
    """No other agent holds more than before, when connections between agents have been idle for as long as they may."""
    holders = [holder for holder in stripes.holders() if holder.node not in fault.hit(it)]
    assert all(holder.node.containerd.has_blob(it.layer) for holder in holders)
    for holder in holders:
        try:
            await settled(partial(holder.holds_no_more_than, stripes.first), holder.name, seconds=PATIENCE)
        except LabError:
            pytest.fail(
                f"{holder.name} holds {await holder.holdings()}, at first {stripes.first}: {holder.descriptors()}"
            )
        assert not is_buffer_in_use(holder.node)
        assert not holder.ingests()
