"""Which index nodes are to be told of which digests, kept up to date as digests and members come and go.

Ranking all members for a digest costs a millisecond in a large cluster, and a node has thousands of digests. So when
members change, only what the change can touch is ranked again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from registryd.cluster.index.ring import RendezvousHash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registryd.notation import Address
    from registryd.oci.digest import Digest

# Digests ranked in one go: 10 ms of the event loop with 5,000 members.
_AT_ONCE: Final = 10


class Assignment:
    """Index nodes by digest, and digests by index node."""

    def __init__(self, make_ring: Callable[[frozenset[Address]], RendezvousHash] = RendezvousHash) -> None:
        """Many nodes in one process can share the rings that `make_ring` gives."""
        self._make_ring = make_ring
        self._ring = RendezvousHash(())
        self._nodes_of: dict[Digest, list[Address]] = {}
        self._digests_at: defaultdict[Address, set[Digest]] = defaultdict(set)

    def addresses(self) -> list[Address]:
        """All index nodes that are to be told of any content."""
        return [address for address, digests in self._digests_at.items() if digests]

    def digests_at(self, address: Address) -> frozenset[Digest]:
        return frozenset(self._digests_at.get(address, ()))

    async def follow_members(self, addresses: frozenset[Address]) -> None:
        """These are the members now, this node among them."""
        before, self._ring = self._ring, self._make_ring(addresses)
        gone = before.addresses - addresses
        touched = {digest for address in gone for digest in self._digests_at.get(address, ())}
        for added in addresses - before.addresses if self._nodes_of else ():
            touched.update(
                digest for digest, nodes in self._nodes_of.items() if self._ring.is_better(added, nodes, digest)
            )
        await self._rank(touched)
        for address in gone:
            self._digests_at.pop(address, None)

    async def follow_digests(self, digests: frozenset[Digest]) -> None:
        """This is what the node has now."""
        for digest in self._nodes_of.keys() - digests:
            self._assign(digest, [])
            del self._nodes_of[digest]
        await self._rank(digests - self._nodes_of.keys())

    async def _rank(self, digests: Iterable[Digest]) -> None:
        for count, digest in enumerate(digests):
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
            self._assign(digest, self._ring.index_nodes(digest))

    def _assign(self, digest: Digest, nodes: list[Address]) -> None:
        for address in self._nodes_of.get(digest, ()):
            self._digests_at[address].discard(digest)
        for address in nodes:
            self._digests_at[address].add(digest)
        self._nodes_of[digest] = nodes
