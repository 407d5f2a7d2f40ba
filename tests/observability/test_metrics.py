import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from registryd.observability.metrics import (
    ContentKind,
    FindOutcome,
    Method,
    Metrics,
    Nearness,
    Outcome,
    PeerState,
    Source,
)
from registryd.version import VERSION


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    (value,) = [
        found.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for found in family.samples
        if found.name == name and found.labels == labels
    ]
    return value


def series(metrics: Metrics) -> list[str]:
    return [line.rpartition(" ")[0] for line in metrics.render().decode().splitlines() if line.startswith("registryd")]


def use_everything(metrics: Metrics) -> None:
    for outcome in Outcome:
        metrics.first_byte(0.002, outcome=outcome)
        for kind in ContentKind:
            for method in Method:
                metrics.request(outcome, kind=kind, method=method)
    for source in Source:
        metrics.sent(10, source=source)
    for found in FindOutcome:
        metrics.find(0.002, outcome=found)
    for nearness in Nearness:
        metrics.sent_to_peer(5, nearness=nearness)
    metrics.peers({PeerState.AVAILABLE: 3})
    metrics.store_up(up=True)
    metrics.peers_insecure(insecure=True)


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    use_everything(metrics)
    metrics.request(Outcome.PEER, kind=ContentKind.BLOB, method=Method.GET)
    assert sample(metrics, "registryd_requests_total", outcome="peer", kind="blob", method="GET") == 2
    assert sample(metrics, "registryd_sent_bytes_total", source="peer") == 10
    assert sample(metrics, "registryd_peer_sent_bytes_total", zone="same") == 5
    assert sample(metrics, "registryd_first_byte_seconds_bucket", outcome="miss", le="0.001") == 0
    assert sample(metrics, "registryd_first_byte_seconds_bucket", outcome="miss", le="0.0025") == 1
    assert sample(metrics, "registryd_find_seconds_count", outcome="found") == 1
    assert sample(metrics, "registryd_store_up") == 1
    assert sample(metrics, "registryd_peers_insecure") == 1


def test_a_state_that_is_not_named_has_no_peers() -> None:
    metrics = Metrics()
    metrics.peers({PeerState.AVAILABLE: 3, PeerState.SET_ASIDE: 1})
    metrics.peers({PeerState.AVAILABLE: 2})
    assert sample(metrics, "registryd_peers", state="available") == 2
    assert sample(metrics, "registryd_peers", state="set_aside") == 0


def test_every_series_is_there_from_the_start() -> None:
    metrics = Metrics()
    before = series(metrics)
    use_everything(metrics)
    assert series(metrics) == before


def test_a_label_that_is_not_foreseen_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Metrics().request(Outcome.LOCAL, kind=ContentKind.BLOB, method="PATCH")  # type: ignore[arg-type]


def test_agents_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.sent_to_peer(5)
    assert sample(other, "registryd_peer_sent_bytes_total", zone="unknown") == 0


def test_the_page_tells_the_version_and_the_process() -> None:
    metrics = Metrics()
    assert sample(metrics, "registryd_build_info", version=VERSION) == 1
    assert sample(metrics, "process_resident_memory_bytes") > 1_000_000
    assert sample(metrics, "process_open_fds") > 0
    assert "_created" not in metrics.render().decode()


async def test_tasks_are_counted_as_they_are_now() -> None:
    metrics = Metrics()
    before = sample(metrics, "registryd_tasks")
    task = asyncio.create_task(asyncio.Event().wait())
    assert sample(metrics, "registryd_tasks") == before + 1
    task.cancel()
    await asyncio.wait([task])
