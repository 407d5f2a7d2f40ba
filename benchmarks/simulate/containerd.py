"""How containerd asks for an image's layers: in which order, how many at a time, and what it holds while it waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from registryd.aio.bound import bounded
from registryd.cluster.fetch.intakes import TookTooLong
from registryd.content.asker import AskAgain, Asker, asked_by
from registryd.content.sought import Sought
from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken

from .store import REPOSITORY, GrowingSink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from registryd.oci.digest import Digest

    from .node import SimulatedNode
    from .store import Blob

FIRST_BYTE_TIMEOUT = 3.0
# Ends without a byte after which it gives up a layer: the fourth in a row.
MOST_EMPTY = 3
# Between the beginnings of two layers of an image: each has a transaction of its own.
BEGINS_SECONDS = 0.008


class PullFailed(Exception):
    """What must never happen."""


@dataclass(frozen=True)
class Behaviour:
    """`lines_up`: since 2.1 all layers are asked for at once, in any order, and a place is held for one request at one
    host. Before, each of the first `places` layers keeps its place until it is there, in the manifest's order.
    """

    lines_up: bool = False
    places: int = 3


class SimulatedContainerd:
    """The pulls of one node; places are shared by all of them."""

    def __init__(self, node: SimulatedNode, behaviour: Behaviour, chance: Random) -> None:
        self._node = node
        self._behaviour = behaviour
        self._chance = chance
        self._places = asyncio.Semaphore(behaviour.places)  # wakes its waiters in the order in which they came
        self._locks: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.ends_without_a_byte = 0
        self.longest_wait = 0.0
        self.waits_given_up = 0

    async def pull(self, layers: Sequence[Blob]) -> None:
        if self._behaviour.lines_up:
            await self._pull_at_once(layers)
        else:
            await self._pull_in_order(layers)

    async def fetch(self, blob: Blob) -> None:
        """One document, which comes before the layers."""
        self._node.store.begin(blob)
        if self._behaviour.lines_up:
            await self._fetch_lining_up(blob)
        else:
            await self._fetch_keeping_its_place(blob)

    async def _pull_in_order(self, layers: Sequence[Blob]) -> None:
        places = asyncio.Semaphore(self._behaviour.places)  # of this pull

        async def fetch(blob: Blob) -> None:
            async with places:
                self._node.store.begin(blob)
                await self._fetch_keeping_its_place(blob)

        async with asyncio.TaskGroup() as group:
            for blob in layers:
                group.create_task(fetch(blob))

    async def _pull_at_once(self, layers: Sequence[Blob]) -> None:
        order = list(layers)
        self._chance.shuffle(order)
        async with asyncio.TaskGroup() as group:
            for blob in order:
                self._node.store.begin(blob)
                group.create_task(self._fetch_lining_up(blob))
                await asyncio.sleep(BEGINS_SECONDS * self._chance.random())

    async def _fetch_keeping_its_place(self, blob: Blob) -> None:
        async with self._locks[blob.digest]:  # two images with the same layer: one has the ingest
            while self._left(blob):
                if not await self._ask_mirror(blob):
                    await self._node.fetch_from_origin(blob)

    async def _fetch_lining_up(self, blob: Blob) -> None:
        async with self._locks[blob.digest]:
            await self._line_up(blob)

    async def _line_up(self, blob: Blob) -> None:
        empty = 0
        while self._left(blob):
            before = self._node.store.available[blob.digest]
            async with self._places:
                is_given = await self._ask_mirror(blob)
            if not is_given:
                async with self._places:
                    await self._node.fetch_from_origin(blob)
            empty = 0 if self._node.store.available[blob.digest] > before else empty + 1
            if empty > MOST_EMPTY:
                raise PullFailed(f"{empty} ends without a byte")

    def _left(self, blob: Blob) -> int:
        return blob.size - self._node.store.available[blob.digest]

    async def _ask_mirror(self, blob: Blob) -> bool:
        """Whether it answered with the content, of which something may have come; False: ask the next host."""
        node, start = self._node, self._node.store.available[blob.digest]
        node.lookups += 1
        begun = asyncio.get_running_loop().time()
        try:
            with asked_by(Asker(self._behaviour.lines_up, waits=True)):
                async with bounded(FIRST_BYTE_TIMEOUT):
                    opened = await node.source.open(Sought(blob.digest, REPOSITORY), lambda size: Span(start, size))
                self._note_wait(begun)
                with suppress(SourceBroken):
                    await opened.body.send_to(cast("Any", GrowingSink(node.store, blob.digest)))
                await opened.body.aclose()
        except AskAgain:
            self._note_wait(begun)
            self.ends_without_a_byte += 1
        except (ContentUnavailable, TimeoutError) as reason:
            self._note_wait(begun)
            self.waits_given_up += isinstance(reason, TimeoutError | TookTooLong)
            return False
        return True

    def _note_wait(self, begun: float) -> None:
        self.longest_wait = max(self.longest_wait, asyncio.get_running_loop().time() - begun)
