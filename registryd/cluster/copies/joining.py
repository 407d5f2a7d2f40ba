"""A node's part in keeping copies, put together when it becomes a member."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from registryd.cluster.contract.copies import CopyAnswer
from registryd.cluster.copies.census import Census
from registryd.cluster.copies.keeper import CopyKeeper
from registryd.cluster.errors import PeerDeclined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from registryd.aio.scope import Scope
    from registryd.cluster.contract.copies import CopyOffer
    from registryd.cluster.copies.census import Asking
    from registryd.cluster.members.roster import Members
    from registryd.config.keeping import KeepRule
    from registryd.content.inventory import Inventory, Stock
    from registryd.content.keepable import Keepable
    from registryd.notation import Address
    from registryd.observability.metrics import CopyState
    from registryd.oci.digest import Digest


class Observer(Protocol):
    """Is told how many images are kept, by their state, and their bytes."""

    def copies(self, states: Mapping[CopyState, int], kept_bytes: int) -> None: ...


class Copies:
    """The copies that a member keeps for the cluster. Before `join`, and without containerd, there are none."""

    def __init__(
        self, rules: Sequence[KeepRule], here: Keepable, *, most_bytes: int, delay: float, observer: Observer
    ) -> None:
        self._rules = rules
        self._here = here
        self._most_bytes = most_bytes
        self._delay = delay
        self._observer = observer
        self._keeper: CopyKeeper | None = None
        self._changed = asyncio.Event()

    def join(
        self,
        scope: Scope,
        index: Asking,
        members: Members,
        own_address: Callable[[], Address],
        zone_of: Callable[[Address], str],
    ) -> None:
        """Keep copies while the scope lasts."""
        self._keeper = CopyKeeper(
            self._rules,
            self._here,
            Census(index, members.addresses, own_address, zone_of),
            _Members(members),
            most_bytes=self._most_bytes,
            delay=self._delay,
            run=lambda work: scope.run(work, name="take a copy"),
            tell=self._changed.set,
            report=self._report,
        )
        scope.serve(self._keeper.run, name="keep copies")

    def offered(self, offer: CopyOffer) -> CopyAnswer:
        """This node's answer to an offer."""
        return self._keeper.offered(offer) if self._keeper else CopyAnswer.REFUSED

    def stop(self) -> None:
        """This node is about to leave."""
        if self._keeper:
            self._keeper.stop()

    def told_with(self, inventory: Inventory) -> Inventory:
        """An inventory with the keys of what is kept, which index nodes are told of as of content."""
        return _WithKeys(inventory, self._keys, self._changed)

    def _keys(self) -> frozenset[Digest]:
        return self._keeper.keys() if self._keeper else frozenset()

    def _report(self) -> None:
        kept = self._keeper.kept.values() if self._keeper else ()
        self._observer.copies(Counter(each.state for each in kept), sum(each.size for each in kept))

    def status(self) -> list[dict[str, Any]]:
        """The kept images and their standing, for operators."""
        if self._keeper is None:
            return []
        kept = [
            {
                "image": str(image),
                "digest": str(image.digest),
                "size": keeping.size,
                "state": keeping.state.value,
                "wanted": keeping.wanted.copies,
                "zones": keeping.wanted.zones,
                "nodes": sorted(map(str, keeping.keepers)),
            }
            for image, keeping in self._keeper.kept.items()
        ]
        taking = [
            {
                "image": str(image),
                "digest": str(image.digest),
                "size": size,
                "state": "taking",
                "wanted": 0,
                "zones": 0,
                "nodes": [],
            }
            for image, size in self._keeper.taking().items()
        ]
        return sorted([*kept, *taking], key=lambda each: str(each["image"]))


class _Members:
    """The other members, as nodes that can be asked to keep an image."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def offer(self, address: Address, offer: CopyOffer) -> CopyAnswer:
        member = self._members.get(address)
        if member is None:
            raise PeerDeclined(f"{address} does not answer")
        return await member.keep(offer)


class _WithKeys:
    """An Inventory with more in it."""

    def __init__(self, inventory: Inventory, keys: Callable[[], frozenset[Digest]], changed: asyncio.Event) -> None:
        self._inventory = inventory
        self._keys = keys
        self._changed = changed

    async def stock(self) -> Stock:
        stock = await self._inventory.stock()
        return replace(stock, held=stock.held | self._keys())

    async def wait_changed(self) -> None:
        """Return when either has changed."""
        waits: list[Awaitable[Any]] = [self._inventory.wait_changed(), self._changed.wait()]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._changed.clear()
        for task in tasks:
            if not task.cancelled():
                task.result()
