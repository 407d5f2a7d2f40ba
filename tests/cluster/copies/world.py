"""Nodes that keep copies, in virtual time: real keepers, an index that hears late, deaths that are noticed late."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from registryd.cluster.contract.index import ClaimReply
from registryd.cluster.copies.census import Census
from registryd.cluster.copies.keeper import CopyKeeper
from registryd.cluster.index.ring import RendezvousHash
from registryd.config.keeping import parse_rules
from registryd.content.keepable import ImageHere, KeptImage
from registryd.content.source import ContentUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.reference import parse_full_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.aio.scope import Job
    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Claim
    from registryd.oci.reference import FullName

# Seconds until a word is heard by index nodes, an answer comes, a death is noticed, an image is pulled.
HEARD: Final = 0.06
ANSWER: Final = 0.002
NOTICED: Final = 15.0
PULL: Final = 20.0
MIB: Final = 1 << 20
SIZE: Final = 100 * MIB
DELAY: Final = 300.0
# As many as an index node names.
MOST_NAMED: Final = 12


def image_of(name: str, content: str = "") -> KeptImage:
    return KeptImage(parse_full_name(name), Digest.of((content or name).encode()))


class FakeNode:
    """Here, and Offering, of one node."""

    def __init__(self, world: World, number: int, most_bytes: int) -> None:
        self.world = world
        self.address = Address(f"10.0.{number // 250}.{number % 250}", 3173)
        self.zone = world.zones[number % len(world.zones)]
        self.there: dict[str, ImageHere] = {}
        self.pinned: set[str] = set()
        self.most_bytes = most_bytes
        self.most_used = 0
        self.pulls: list[str] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self.keeper: CopyKeeper | None = None

    # Its life

    def start(self) -> None:
        world = self.world
        census = Census(
            self, lambda: world.known_by(self), lambda: self.address, world.zone_of, make_ring=world.ring_of
        )
        self.keeper = CopyKeeper(
            self.world.rules,
            self,
            census,
            self,
            most_bytes=self.most_bytes,
            delay=DELAY,
            run=self._run,
            tell=self._tell,
        )
        self.world.alive[self.address] = self
        self._task = asyncio.create_task(self.keeper.run(), name=f"keep at {self.address}")

    async def stop(self, *, says_goodbye: bool) -> None:
        keeper, self.keeper = self.keeper, None
        assert keeper
        assert self._task
        if says_goodbye:
            keeper.stop()
            self.world.hear(self.address, frozenset())
        for task in (self._task, *self._beside):
            task.cancel()
        await asyncio.wait((self._task, *self._beside))
        self.world.die(self)

    def has(self, image: KeptImage, *, seen_at: float = 0.0) -> None:
        self.there[str(image)] = ImageHere(image, seen_at)
        self.world.told[image.digest].add(self.address)
        self._changed.set()

    def lose(self, image: KeptImage) -> None:
        self.there.pop(str(image), None)
        self.world.told[image.digest].discard(self.address)
        self.pinned.discard(str(image))
        self._changed.set()

    def keeps(self, image: KeptImage) -> bool:
        return self.keeper is not None and image in self.keeper.kept

    # Here

    async def images(self) -> Collection[ImageHere]:
        return list(self.there.values())

    async def wait_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def size_of(self, name: FullName) -> int | None:
        return SIZE if str(name) in self.there else None

    async def kept(self) -> Collection[FullName]:
        return [parse_full_name(name) for name in self.pinned]

    async def keep(self, name: FullName) -> bool:
        self.pinned.add(str(name))
        self.most_used = max(self.most_used, SIZE * len(self.pinned))
        return str(name) in self.there

    async def let_go(self, name: FullName) -> None:
        self.pinned.discard(str(name))

    async def bring(self, name: FullName) -> None:
        self.pulls.append(str(name))
        await asyncio.sleep(PULL)
        if str(name) in self.world.origin_lacks:
            raise ContentUnavailable("401 Unauthorized")
        self.has(self.world.means[str(name)], seen_at=asyncio.get_running_loop().time())

    def has_room(self, size: int) -> bool:
        return size >= 0

    # The index and the others

    async def claim(self, claim: Claim) -> ClaimReply:
        await asyncio.sleep(ANSWER)
        self.world.questions[self.address] += 1
        told = sorted(self.world.heard_by(self, claim.digest) - {self.address}, key=str)
        return ClaimReply(tuple(told[:MOST_NAMED]), is_whole=True)

    async def offer(self, address: Address, offer: CopyOffer) -> CopyAnswer:
        await asyncio.sleep(ANSWER)
        self.world.offers[self.address] += 1
        node = self.world.alive.get(address)
        if node is None or node.keeper is None or not self.world.reaches(self.address, address):
            raise ContentUnavailable("nobody answers")
        return node.keeper.offered(offer)

    def _tell(self) -> None:
        if self.keeper:
            self.world.hear(self.address, self.keeper.keys())

    def _run(self, work: Job) -> None:
        async def run() -> None:
            await work()

        task = asyncio.create_task(run(), name="beside")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


@dataclass
class World:
    """The nodes, and what the index nodes have heard."""

    count: int
    lines: Sequence[str] = ("ghcr.io/corp/* copies=3",)
    zones: Sequence[str] = ("",)
    most_bytes: int = 1 << 40
    nodes: list[FakeNode] = field(default_factory=list)
    alive: dict[Address, FakeNode] = field(default_factory=dict)
    known: frozenset[Address] = frozenset()
    told: defaultdict[Digest, set[Address]] = field(default_factory=lambda: defaultdict(set))
    means: dict[str, KeptImage] = field(default_factory=dict)
    origin_lacks: set[str] = field(default_factory=set)
    questions: Counter[Address] = field(default_factory=Counter)
    offers: Counter[Address] = field(default_factory=Counter)
    kind: type[FakeNode] = FakeNode
    island: frozenset[Address] = frozenset()
    """Members that reach each other and nobody else."""
    noticed_island: frozenset[Address] = frozenset()
    """The same, as they know of it."""

    def __post_init__(self) -> None:
        self.rules = parse_rules(self.lines)
        self._told_by: defaultdict[Address, frozenset[Digest]] = defaultdict(frozenset)
        self._rings: dict[frozenset[Address], RendezvousHash] = {}
        self._halves_of = (0, 0)
        self._halves: tuple[frozenset[Address], frozenset[Address]] = frozenset(), frozenset()
        self.nodes = [self.kind(self, number, self.most_bytes) for number in range(self.count)]
        self.known = frozenset(node.address for node in self.nodes)
        self._zones = {node.address: node.zone for node in self.nodes}

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in list(self.alive.values()):
            await node.stop(says_goodbye=False)

    def zone_of(self, address: Address) -> str:
        return self._zones[address]

    def ring_of(self, addresses: frozenset[Address]) -> RendezvousHash:
        """One for all nodes that see the same members."""
        if addresses not in self._rings:
            # One for each half.
            while len(self._rings) > 1:
                del self._rings[next(iter(self._rings))]
            self._rings[addresses] = RendezvousHash(addresses)
        return self._rings[addresses]

    # Halves

    def part(self, island: frozenset[Address]) -> None:
        """Let these reach nobody else from now on; nobody: let all reach each other again."""
        self.island = island
        asyncio.get_running_loop().call_later(NOTICED, self._notice_island, island)

    def _notice_island(self, island: frozenset[Address]) -> None:
        self.noticed_island = island

    def reaches(self, one: Address, other: Address) -> bool:
        return (one in self.island) == (other in self.island)

    def known_by(self, node: FakeNode) -> frozenset[Address]:
        """The same object until it changes, as a roster's."""
        if not self.noticed_island:
            return self.known
        if self._halves_of != (id(self.known), id(self.noticed_island)):
            self._halves_of = id(self.known), id(self.noticed_island)
            self._halves = self.known & self.noticed_island, self.known - self.noticed_island
        return self._halves[node.address not in self.noticed_island]

    def heard_by(self, node: FakeNode, key: Digest) -> set[Address]:
        """Who has said that it keeps an image, or has its content: index nodes forget whom they do not reach."""
        known = self.known_by(node)
        return {address for address in self.told[key] if address in known}

    def hear(self, address: Address, keys: frozenset[Digest]) -> None:
        asyncio.get_running_loop().call_later(HEARD, self._heard, address, keys)

    def _heard(self, address: Address, keys: frozenset[Digest]) -> None:
        for key in self._told_by[address] - keys:
            self.told[key].discard(address)
        for key in keys:
            self.told[key].add(address)
        self._told_by[address] = keys

    def die(self, node: FakeNode) -> None:
        del self.alive[node.address]
        asyncio.get_running_loop().call_later(NOTICED, self._noticed)

    def _noticed(self) -> None:
        self.known = frozenset(self.alive)

    def push(self, name: str, content: str = "") -> KeptImage:
        """What a pull of the name gives from now on."""
        self.means[name] = image = image_of(name, content)
        return image

    def keepers(self, image: KeptImage) -> list[FakeNode]:
        return [node for node in self.alive.values() if node.keeps(image)]

    def pulls(self) -> int:
        return sum(len(node.pulls) for node in self.nodes)
