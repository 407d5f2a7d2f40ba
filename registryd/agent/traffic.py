"""The traffic of an agent since its start, read off its own metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.observability.metrics import Outcome, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.observability.metrics import Metrics
    from registryd.observability.prometheus import Sample

_HITS: Final = frozenset({Outcome.LOCAL, Outcome.PEER, Outcome.UPSTREAM})


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of containerd and those that were answered with content; bytes from peers and to peers.

    `spared` counts the bytes that containerd got from no origin, `elsewhere` the bytes that containerd got without the
    agent.
    """

    requests: int
    hits: int
    received_bytes: int
    sent_bytes: int
    spared_bytes: int
    elsewhere_bytes: int


def traffic_of(metrics: Metrics) -> Traffic:
    """One reading; takes a millisecond or two, so it is for people and not for requests."""
    samples = list(metrics.page.samples())
    asked = [sample for sample in samples if sample.name == "registryd_requests_total"]
    sent = [sample for sample in samples if sample.name == "registryd_sent_bytes_total"]
    return Traffic(
        requests=int(sum(sample.value for sample in asked)),
        hits=int(sum(sample.value for sample in asked if sample.labels["outcome"] in _HITS)),
        received_bytes=_total(samples, "registryd_peer_received_bytes_total"),
        sent_bytes=_total(samples, "registryd_peer_sent_bytes_total"),
        spared_bytes=int(sum(sample.value for sample in sent if sample.labels["source"] != Source.UPSTREAM)),
        elsewhere_bytes=_total(samples, "registryd_elsewhere_bytes_total"),
    )


def _total(samples: Sequence[Sample], name: str) -> int:
    return int(sum(sample.value for sample in samples if sample.name == name))
