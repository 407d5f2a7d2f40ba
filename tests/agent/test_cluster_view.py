"""The cluster as a whole is the sum of what its members say: flows, spread, savings."""

from __future__ import annotations

import pytest

from registryd.agent.cluster_view import cluster_view, without_names
from registryd.agent.savings import Saved, Savings
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.view import ClusterView, Flow, Hour, image_keys
from registryd.cluster.diagnosis.values import Examination, NodeReport, Vitals
from registryd.notation import Address

VITALS = Vitals(name="n", version="1", time=0.0, up_seconds=1)
ALL, MINE, THEIRS = "docker.io/library/all:1", "ghcr.io/corp/mine:1", "ghcr.io/corp/theirs:1"


def member(host: str, view: ClusterView | None) -> Examination:
    report = NodeReport(Node(NodeId.random(), 0), VITALS, view) if view else None
    return Examination(address=Address(host, 3173), state="up", report=report)


OWN = ClusterView(
    flows=(Flow("sha256:1", 100, 10, "10.0.0.2"),), images=image_keys([ALL, MINE]), hours=(Hour(5, 1), Hour(7, 0))
)
NEAR = ClusterView(
    flows=(Flow("sha256:1", 100, 90, "10.0.0.3"),), images=image_keys([ALL, THEIRS]), hours=(Hour(2, 2),)
)
VIEW = cluster_view(
    OWN,
    "10.0.0.1",
    [member("10.0.0.2", NEAR), member("10.0.0.3", ClusterView(images=image_keys([ALL]))), member("10.0.0.9", None)],
    images=[ALL, MINE],
    names={"sha256:1": "ghcr.io/corp/mine:1"},
)


def test_who_feeds_whom() -> None:
    assert [(flow["source"], flow["receiver"], flow["sent"]) for flow in VIEW["flows"]] == [
        ("10.0.0.1", "10.0.0.2", 10),
        ("10.0.0.2", "10.0.0.3", 90),
    ]
    assert {flow["name"] for flow in VIEW["flows"]} == {"ghcr.io/corp/mine:1"}


def test_what_few_have_comes_first_and_what_one_node_has_is_counted() -> None:
    assert VIEW["nodes"] == 3
    assert VIEW["spread"] == [{"image": MINE, "nodes": 1}, {"image": ALL, "nodes": 3}]
    assert VIEW["alone"] == [{"host": "10.0.0.1", "images": 1}, {"host": "10.0.0.2", "images": 1}]


def test_hours_add_up() -> None:
    assert VIEW["hours"] == [{"spared": 7, "elsewhere": 3}, {"spared": 7, "elsewhere": 0}]


def test_others_are_told_no_names() -> None:
    told = str(without_names(VIEW))
    assert "corp" not in told
    assert "sha256" not in told


def test_a_node_by_itself_is_not_told_that_it_is_alone() -> None:
    assert cluster_view(OWN, "10.0.0.1", [], images=[ALL], names={})["alone"] == []


def test_savings_are_of_hours() -> None:
    now, counters = 0.0, (100, 10)
    savings = Savings(lambda: counters, lambda: now)
    counters = (150, 30)
    assert savings.hours() == [Saved(50, 20)]
    now, counters = 3601.0, (160, 30)
    assert savings.hours() == [Saved(0, 0), Saved(60, 20)]
    now = 3600.0 * 40
    assert savings.hours() == [Saved()] * 24


@pytest.mark.looptime
async def test_savings_are_read_once_a_minute() -> None:
    import asyncio  # noqa: PLC0415

    reads = 0

    def read() -> tuple[int, int]:
        nonlocal reads
        reads += 1
        return (0, 0)

    task = asyncio.create_task(Savings(read, asyncio.get_running_loop().time).run())
    await asyncio.sleep(601)
    task.cancel()
    await asyncio.wait((task,))
    assert reads == 11
