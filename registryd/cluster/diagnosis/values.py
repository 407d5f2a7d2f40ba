"""Knowledge about a node's health, as values; `registryd.cluster.diagnosis.messages` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.cluster.contract.node import Node
    from registryd.cluster.contract.view import ClusterView
    from registryd.notation import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How an agent is: counts since it started, sizes in bytes, times in seconds.

    `received_bytes` and `sent_bytes` are what peers gave and got; `spared_bytes` what its containerd got without going
    outside, `elsewhere_bytes` what it got without the agent. `time` is its own clock, since the epoch; `problem` why it
    cannot serve now, empty when it can; `zone` where it is, empty when it does
    not know.
    """

    name: str
    version: str
    time: float
    up_seconds: int
    images: int = 0
    image_names: int = 0
    transfers: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    requests: int = 0
    hits: int = 0
    spared_bytes: int = 0
    elsewhere_bytes: int = 0
    problem: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """An agent's vitals, its identity, and its part of the cluster's view, if the question asked for that."""

    node: Node
    vitals: Vitals
    view: ClusterView | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether a peer knows this node, and why it could not reach its ports; empty where it could."""

    is_known: bool
    peers_problem: str = ""
    content_problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The result of the examination of one member.

    `state` is the member's state at this node, `since` when (seconds since the epoch), `reason` why the member is set
    aside. `problem` says why the member gave no report. `peers_problem` and `content_problem` say why this node cannot
    connect to the member's ports. `is_stranger`: the address answers, and does not prove to be a member. `back` is the
    member's contact to this node, None when the member cannot be asked. `skew` is how far the member's clock is ahead
    of this node's, in seconds.
    """

    address: Address
    state: str
    since: float = 0.0
    reason: str = ""
    report: NodeReport | None = None
    problem: str = ""
    peers_problem: str = ""
    content_problem: str = ""
    is_stranger: bool = False
    asked_at: float = 0.0
    """When it gave this report, or failed to; seconds since the epoch, 0: never."""
    back: Reached | None = None
    skew: float | None = None
