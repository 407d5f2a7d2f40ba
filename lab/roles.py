"""Which node does what in a wave, so that a fault can be aimed at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.agent import PEERS_PORT
from registryd.cluster.index.ring import RendezvousHash
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from lab.cluster import Cluster, Node


def index_node_of(cluster: Cluster, digest: str) -> Node:
    """The node that says who gets this from whom: the first of the digest's index nodes."""
    nodes = {Address(node.host.ipv4, PEERS_PORT): node for node in cluster.nodes}
    return nodes[RendezvousHash(nodes).index_nodes(Digest.parse(digest))[0]]


def fetcher_of(cluster: Cluster, digest: str) -> Node:
    """The node that gets this layer from the origin, while it does: all others are behind it."""
    return max(cluster.nodes, key=lambda node: node.containerd.arrived(digest))
