"""What an agent has moved since it started, read off its own metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.telemetry import Outcome, Source

if TYPE_CHECKING:
    from registryd.telemetry import Metrics

_HITS: Final = frozenset({Outcome.LOCAL, Outcome.PEER, Outcome.UPSTREAM})


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of containerd and those that were answered with content; bytes from peers and to peers."""

    requests: int
    hits: int
    received_bytes: int
    sent_bytes: int


def traffic_of(metrics: Metrics) -> Traffic:
    """One reading; takes a millisecond or two, so it is for people and not for requests."""
    samples = list(metrics.page.samples())
    asked = [sample for sample in samples if sample.name == "registryd_requests_total"]
    sent = [sample for sample in samples if sample.name == "registryd_sent_bytes_total"]
    return Traffic(
        requests=int(sum(sample.value for sample in asked)),
        hits=int(sum(sample.value for sample in asked if sample.labels["outcome"] in _HITS)),
        received_bytes=int(sum(sample.value for sample in sent if sample.labels["source"] == Source.PEER)),
        sent_bytes=int(sum(sample.value for sample in samples if sample.name == "registryd_peer_sent_bytes_total")),
    )
