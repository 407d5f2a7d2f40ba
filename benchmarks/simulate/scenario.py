"""One wave: who pulls what over which network, and what came of it."""

from __future__ import annotations

import asyncio
import math
import statistics
from dataclasses import dataclass
from random import Random

from registryd.notation import Address
from registryd.oci.digest import Digest

from .clock import run_virtually
from .containerd import Behaviour
from .network import Link, SimulatedNetwork
from .node import STRIPES_FROM, Origin, SimulatedNode
from .peers import Roster
from .store import Blob
from .transport import STEP

Image = tuple[list[Blob], list[Blob]]  # documents and layers

MIB = 1 << 20
ACQUAINTED_SECONDS = 3.0  # until nodes that have just started have told each other what they have
START_SECONDS = 0.1  # within which all nodes begin
PAUSE_SECONDS = 30.0  # between two images
DISCOVERY_SECONDS = 5.0  # until members who came or went are known


@dataclass(frozen=True)
class Scenario:
    name: str
    nodes: int
    megabytes: int = 100
    layers: int = 4
    bandwidth: float = 25_000_000  # bytes a second of every node and of the origin: 200 Mbit/s
    origin_bandwidth: float = 0.0  # 0: the same
    latency: float = 0.0005
    loss: float = 0.0
    slow_share: float = 0.0  # of the nodes have a tenth of the bandwidth
    is_first_slow: bool = False  # so is the one that begins before all others
    only_uplinks: bool = False  # of these nodes are slow: they receive as well as others, and count as others
    churn_per_minute: float = 0.0  # share of the nodes that leaves, and as many come
    zones: int = 1
    zone_bandwidth: float = 0.0
    behaviours: tuple[Behaviour, ...] = (Behaviour(),)  # of the nodes' containerds, in turn
    sizes: tuple[int, ...] = ()  # of the layers, in bytes; empty: `layers` of the same size
    images: int = 1  # that each node pulls at once, in an order of its own
    shared_layers: int = 0  # that all images have in common
    start_seconds: float = START_SECONDS  # within which all nodes begin
    quickening: int = 1  # begun by a share t of that time: t to this power; 1: evenly
    origin_first_byte: float = 0.0
    question_seconds: float = 0.0  # of a node's processor, for each question to it
    stripes_from: int = STRIPES_FROM  # so many nodes that want a layer at once get it in stripes; 0: they never do
    is_second: bool = False  # image that these nodes pull, one after the other; that one is measured
    seed: str = ""

    @property
    def all_images(self) -> list[Image]:
        """Documents and layers of each."""
        return self.images_from(0)

    def images_from(self, first: int) -> list[Image]:
        sizes = self.sizes or (self.megabytes * MIB // self.layers,) * self.layers
        return [self._image(first + number, sizes) for number in range(self.images)]

    def _image(self, number: int, sizes: tuple[int, ...]) -> Image:
        name = self.name + self.seed
        own = f"{name} {number}" if number else name
        documents = [Blob(_digest(own, f"document {i}"), 2000) for i in range(2)]
        names = [name if i < self.shared_layers else own for i in range(len(sizes))]
        return documents, [Blob(_digest(names[i], f"layer {i}"), size) for i, size in enumerate(sizes)]

    @property
    def size(self) -> int:
        blobs = {blob for documents, layers in self.all_images for blob in (*documents, *layers)}
        return sum(blob.size for blob in blobs)

    @property
    def limit(self) -> float:
        """No scheme can be quicker than S/B·(1 + ⌊log2 N⌋/M) with M pieces; S/B is the origin's for what it sends."""
        sent = self.size / min(self.bandwidth, self.origin_bandwidth or self.bandwidth)
        return sent + self.size / self.bandwidth * math.floor(math.log2(self.nodes)) / (self.size / STEP)


@dataclass(frozen=True)
class Outcome:
    scenario: Scenario
    median: float
    last: float
    last_fast: float  # the last of the nodes that do not receive slowly
    own: float  # seconds from a node's own beginning to its end: 99th percentile of those that receive well
    origin_copies: float
    received: float  # by a node, in copies of the content, samples included: the mean
    most_received: float
    lookups: int
    calls: dict[str, tuple[int, int]]  # messages and bytes by kind
    longest_wait: float  # of a request for its answer
    put_off: int  # requests that were ended before their first byte
    striped: float  # of what nodes got, the share that came in stripes
    waits_given_up: int  # that nothing else ended than peers.fetch_wait

    @property
    def messages_per_lookup(self) -> float:
        """With requests for bytes that brought none."""
        return sum(self.calls.get(kind, (0, 0))[0] for kind in ("claim", "find", "door")) / self.lookups

    @property
    def bytes_per_node(self) -> float:
        return sum(size for _, size in self.calls.values()) / self.scenario.nodes

    @property
    def announcements_per_node(self) -> float:
        return self.calls.get("announce", (0, 0))[0] / self.scenario.nodes


def run(scenario: Scenario) -> Outcome:
    return run_virtually(_run(scenario))


async def _run(scenario: Scenario) -> Outcome:
    wave = _Wave(scenario)
    await wave.run()
    return wave.outcome()


class _Wave:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.chance = Random(scenario.name + scenario.seed)
        # Of its own: who begins first, and whether that is a slow one, does not depend on how much was said before.
        self.start_chance = Random(f"{scenario.name}{scenario.seed}: starts")
        self.network = SimulatedNetwork(
            scenario.latency,
            scenario.loss,
            self.chance,
            scenario.zone_bandwidth,
            question_seconds=scenario.question_seconds,
        )
        origin_link = Link(scenario.origin_bandwidth or scenario.bandwidth)
        zone = "zone0" if scenario.zones > 1 else ""
        self.origin = Origin(origin_link, zone=zone, first_byte_seconds=scenario.origin_first_byte)
        self.slow: set[Address] = set()
        self.all: list[SimulatedNode] = []
        self.pulls: dict[Address, asyncio.Task[None]] = {}
        self.announcing: list[asyncio.Task[None]] = []
        self.began = 0.0

    async def run(self) -> None:
        for _ in range(self.scenario.nodes):
            self._add()
        Roster.everyone = frozenset(self.network.nodes)
        for node in self.all:
            self._join(node)
        await asyncio.sleep(ACQUAINTED_SECONDS)
        if self.scenario.is_second:
            await self._pull_everywhere(self.scenario.images_from(self.scenario.images))
            await asyncio.sleep(PAUSE_SECONDS)
        self._forget()
        await self._pull_everywhere(self.scenario.all_images)
        await asyncio.sleep(3)  # announcements of the last
        for task in self.announcing:
            task.cancel()

    def _forget(self) -> None:
        """What was before is not measured."""
        self.began = asyncio.get_running_loop().time()
        self.network.traffic.clear()
        self.origin.up.carried = 0
        for node in self.all:
            node.lookups, node.done_at, node.down.carried, node.striped_bytes = 0, None, 0, 0

    async def _pull_everywhere(self, images: list[Image]) -> None:
        for node in self.all:
            self._start(node, images)
        churn = asyncio.create_task(self._churn(images))
        await self._wait_pulls()
        churn.cancel()

    async def _wait_pulls(self) -> None:
        while pending := [task for task in self.pulls.values() if not task.done()]:
            await asyncio.wait(pending)
        for address, task in self.pulls.items():
            if not task.cancelled() and (error := task.exception()):
                raise RuntimeError(f"the pull of {address} failed") from error

    def _add(self) -> SimulatedNode:
        number = len(self.all)
        address = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 3173)
        is_slow = self.chance.random() < self.scenario.slow_share or (self.scenario.is_first_slow and not self.all)
        is_slow_both_ways = is_slow and not self.scenario.only_uplinks
        if is_slow_both_ways:
            self.slow.add(address)
        zone = f"zone{number % self.scenario.zones}" if self.scenario.zones > 1 else ""
        bandwidth = self.scenario.bandwidth
        behaviours = self.scenario.behaviours
        node = SimulatedNode(
            address,
            self.network,
            self.origin,
            up=bandwidth / (10 if is_slow else 1),
            down=bandwidth / (10 if is_slow_both_ways else 1),
            zone=zone,
            behaviour=behaviours[number % len(behaviours)],
            chance=Random(f"{self.scenario.name}{self.scenario.seed}: {number}"),
            stripes_from=self.scenario.stripes_from,
        )
        self.all.append(node)
        self.network.nodes[address] = node
        return node

    def _start(self, node: SimulatedNode, images: list[Image]) -> None:
        async def pull() -> None:
            delay = self.scenario.start_seconds * self.start_chance.random() ** (1 / self.scenario.quickening)
            await asyncio.sleep(0 if self.scenario.is_first_slow and node is self.all[0] else delay)
            own_order = list(images)
            self.start_chance.shuffle(own_order)
            async with asyncio.TaskGroup() as group:
                for image in own_order:
                    group.create_task(node.pull(*image))

        self.pulls[node.address] = asyncio.create_task(pull())

    def _join(self, node: SimulatedNode) -> None:
        self.announcing.append(asyncio.create_task(node.run()))

    async def _churn(self, images: list[Image]) -> None:
        rate = self.scenario.churn_per_minute * self.scenario.nodes / 60
        while rate:
            await asyncio.sleep(self.chance.expovariate(rate))
            leaving = self.chance.choice([node for node in self.all if node.address in self.network.nodes])
            leaving.die()
            self.pulls[leaving.address].cancel()
            added = self._add()
            self._join(added)
            self._start(added, images)
            asyncio.get_running_loop().call_later(DISCOVERY_SECONDS, self._discover)

    def _discover(self) -> None:
        Roster.everyone = frozenset(self.network.nodes)

    def outcome(self) -> Outcome:
        first = self.all[: self.scenario.nodes]
        done = {node.address: node.done_at - self.began for node in first if node.done_at is not None}
        fast = [at for address, at in done.items() if address not in self.slow]
        own = [node.done_at - node.begun_at for node in first if node.done_at and node.address not in self.slow]
        calls = {kind: (traffic.messages, traffic.bytes) for kind, traffic in self.network.traffic.items()}
        received = [node.down.carried / self.scenario.size for node in first]
        return Outcome(
            self.scenario,
            statistics.median(done.values()),
            max(done.values()),
            max(fast),
            _percentile(own, 0.99),
            self.origin.up.carried / self.scenario.size,
            statistics.mean(received),
            max(received),
            sum(node.lookups for node in self.all),
            calls,
            max(node.containerd.longest_wait for node in self.all),
            sum(node.containerd.ends_without_a_byte for node in self.all),
            sum(node.striped_bytes for node in first) / sum(node.down.carried for node in first),
            sum(node.containerd.waits_given_up for node in self.all),
        )


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _digest(name: str, part: str) -> Digest:
    return Digest.of(f"{name} {part}".encode())
