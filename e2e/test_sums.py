"""What agents say they have moved is true: a play with known truth, and the formulas that people read it by."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.agent import Agent, Metrics
    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

_PROJECT = Path(__file__).parent.parent
# What sums of a cluster may differ by: a source that is left has sent what nobody takes any more.
_TOLERANCE = 0.01
_COUNTED_SECONDS = 60.0
_SELECTED = re.compile(r"""(?P<name>registryd_\w+?)(?:\{(?P<labels>[^}]*)\})?\[[^\]]+\]""")
_SUM = re.compile(r"sum\((?:rate|increase)\((?P<series>[^()]+)\)\)")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    recipe = ImageRecipe(layers=(LayerRecipe(size=40_000_000), LayerRecipe(size=3_000_000)))
    return make_image(tmp_path_factory.mktemp("large") / "layout", recipe)


def size_of(image: Image) -> int:
    """All that a pull brings."""
    local = image.local
    return sum(blob.size for blob in (image.root, local.blob, local.config, *local.layers))


def agents_of(cluster: Cluster) -> list[Agent]:
    return [node.agent for node in cluster.nodes if node.agent]


async def readings(cluster: Cluster) -> list[Metrics]:
    return [await agent.metrics() for agent in agents_of(cluster)]


async def until(cluster: Cluster, holds: Callable[[list[Metrics]], bool]) -> list[Metrics]:
    """The metrics of all nodes when they say that; what came from elsewhere is counted a moment after it is there."""
    async with asyncio.timeout(_COUNTED_SECONDS):
        while not holds(read := await readings(cluster)):  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.1)
    return read


def total(read: list[Metrics], name: str, **labels: str) -> float:
    return sum(each.total(name, **labels) for each in read)


async def check_pull(node: Node, reference: str, size: int, sources: set[str] | None) -> None:
    """It is one thing: in `/status`, and as one line of the log."""
    assert node.agent
    async with asyncio.timeout(_COUNTED_SECONDS):
        while not (pulls := json.loads((await node.agent.ask_admin("/status")).body)["pulls"])["recent"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    (pull,) = pulls["recent"]
    assert (pull["image"], pull["size"]) == (reference, size)
    assert 0 < pull["ended"] - pull["began"] < 60
    assert sum(pull["sources"].values()) == pytest.approx(1, rel=_TOLERANCE)
    if sources is not None:
        assert set(pull["sources"]) == sources
    assert pull["share"] == pytest.approx(0 if sources == {"elsewhere"} else 1)
    lines = map(json.loads, node.agent.process.log.read_text().splitlines())
    (line,) = [line for line in lines if line["message"] == "pull"]
    assert (line["level"], line["image"], line["size"]) == ("info", reference, size)
    assert ("nobody had it" in line["slowed"]) == (sources == {"elsewhere"})


def value_of(formula: str, read: list[Metrics]) -> float:
    """What Prometheus would make of the formula since the start: sums of counters, and arithmetic of them."""
    sums = _SUM.sub(lambda found: str(_sum_of(found["series"], read)), formula)
    assert re.fullmatch(r"[0-9eE.+\-*/() \n]+", sums), f"not understood: {sums}"
    return float(eval(sums))


def _sum_of(series: str, read: list[Metrics]) -> float:
    found = _SELECTED.fullmatch(series.strip())
    assert found, series
    wanted = re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', found["labels"] or "")
    return sum(
        value
        for each in read
        for name, labels, value in each.samples
        if name == found["name"] and all(_fits(dict(labels), *one) for one in wanted)
    )


def _fits(labels: dict[str, str], name: str, operator: str, value: str) -> bool:
    if name in {"namespace", "node"}:  # of the scrape, not of the agent
        return True
    has = labels.get(name, "")
    return {"=": has == value, "!=": has != value, "=~": bool(re.fullmatch(value, has))}[operator]


def documented() -> dict[str, str]:
    """The formulas of operations.md, by their comments."""
    text = (_PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    block = text.partition("Useful graphs:\n\n```\n")[2].partition("\n```")[0]
    return dict(re.findall(r"(?m)^# (.+)\n((?:(?!# ).+\n?)+)", block))


def on_the_dashboard(title: str) -> str:
    board = json.loads((_PROJECT / "charts/registryd/dashboards/registryd.json").read_text(encoding="utf-8"))
    (panel,) = [panel for panel in board["panels"] if panel["title"] == title]
    return str(panel["targets"][0]["expr"])


async def test_sums_are_true(release: Release, large: Image) -> None:
    size = size_of(large)
    async with running_cluster([NodePlan(release, agent=PATIENT)] * 3) as cluster:
        first, second, third = cluster.nodes
        reference = await cluster.push(large, "demo/app")
        cluster.origin.forget_requests()
        await first.pull(reference)
        read = await until(cluster, lambda read: total(read, "registryd_elsewhere_bytes_total") >= size)
        await cluster.origin.blob_transfers(expected=1 + len(large.local.layers))
        sent = sum(access.sent for access in cluster.origin.requests() if access.method == "GET")
        assert total(read, "registryd_elsewhere_bytes_total") == size
        assert sent == pytest.approx(size, rel=_TOLERANCE)
        for node in (second, third):
            await node.pull(reference)
        read = await until(cluster, lambda read: total(read, "registryd_sent_bytes_total") >= 2 * size)
        await asyncio.sleep(2)
        read = await readings(cluster)
        assert total(read, "registryd_sent_bytes_total", source="peer") == 2 * size
        assert total(read, "registryd_elsewhere_bytes_total") == size
        for source, count in (("peer", 2 * size), ("elsewhere", size)):
            assert total(read, "registryd_pulled_bytes_total", source=source, registry=ORIGIN) == count
        given = total(read, "registryd_peer_sent_bytes_total")
        assert given >= 2 * size * (1 - _TOLERANCE)
        assert total(read, "registryd_peer_received_bytes_total") == pytest.approx(given, rel=_TOLERANCE)

        for node, expected in ((first, {"elsewhere"}), (second, {first.host.ipv4}), (third, None)):
            await check_pull(node, reference, size, expected)
        formulas = documented()
        assert value_of(formulas["Share of bytes that did not come from outside"], read) == pytest.approx(
            2 / 3, rel=_TOLERANCE
        )
        assert value_of(formulas["Bytes that did not come from the origins"], read) == 2 * size
        assert value_of(on_the_dashboard("From peers"), read) == pytest.approx(2 / 3, rel=_TOLERANCE)


async def test_bytes_that_come_by_grpc_count_and_trials_do_not(release: Release, large: Image) -> None:
    size = size_of(large)
    # Where peers find nobody: they take everything by Read.
    closed = merged(PATIENT, {"peers": {"content_listen": "127.0.0.1:3174"}})
    async with running_cluster([NodePlan(release, agent=closed)] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(large, "demo/app")
        await first.pull(reference)
        await second.pull(reference)
        await until(cluster, lambda read: total(read, "registryd_sent_bytes_total", source="peer") >= size)
        # The giver counts a message when its write is over, which may be a moment after the receiver has it.
        least = size * (1 - _TOLERANCE)
        read = await until(cluster, lambda read: total(read, "registryd_peer_sent_bytes_total") >= least)
        given = total(read, "registryd_peer_sent_bytes_total")
        assert given == pytest.approx(size, rel=_TOLERANCE)
        assert total(read, "registryd_peer_received_bytes_total") == pytest.approx(given, rel=_TOLERANCE)
