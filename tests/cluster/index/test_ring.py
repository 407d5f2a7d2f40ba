from __future__ import annotations

from collections import Counter

import pytest

from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index.ring import INDEX_NODES, RendezvousHash
from registryd.notation import Address
from registryd.oci.digest import Digest

NODES = [Address("10.0.0.1", number) for number in range(1, 51)]
DIGESTS = [Digest.of(str(number).encode()) for number in range(500)]


def test_all_nodes_agree_whatever_order_they_know_each_other_in() -> None:
    one, other = RendezvousHash(NODES), RendezvousHash(reversed(NODES))
    assert all(one.index_nodes(digest) == other.index_nodes(digest) for digest in DIGESTS)


def test_the_work_is_spread() -> None:
    ring = RendezvousHash(NODES)
    first = Counter(ring.index_nodes(digest)[0] for digest in DIGESTS)
    assert max(first.values()) < 4 * len(DIGESTS) / len(NODES)


def test_a_node_that_leaves_moves_only_its_own_digests() -> None:
    before, after = RendezvousHash(NODES), RendezvousHash(NODES[1:])
    for digest in DIGESTS:
        kept = [address for address in before.index_nodes(digest) if address != NODES[0]]
        assert after.index_nodes(digest)[: len(kept)] == kept


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_small_cluster_has_fewer(count: int) -> None:
    assert len(RendezvousHash(NODES[:count]).index_nodes(DIGESTS[0])) == min(count, INDEX_NODES)


async def test_an_assignment_follows_members_and_digests() -> None:
    assignment = Assignment()
    await assignment.follow_members(frozenset(NODES[:2]))
    await assignment.follow_digests(frozenset(DIGESTS))
    for members in (NODES[:10], NODES[:11], NODES[3:11], NODES[3:], NODES[:1], NODES):
        await assignment.follow_members(frozenset(members))
        ring = RendezvousHash(members)
        expected = {(address, digest) for digest in DIGESTS for address in ring.index_nodes(digest)}
        assert {(a, d) for a in assignment.addresses() for d in assignment.digests_at(a)} == expected
    await assignment.follow_digests(frozenset(DIGESTS[:3]))
    assert sum(len(assignment.digests_at(address)) for address in assignment.addresses()) == 3 * INDEX_NODES
