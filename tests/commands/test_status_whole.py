"""In a terminal the cluster is what it is on the page: problems and remedies, who feeds whom, what few have."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console, Group

from registryd.commands.status_whole import OWN_REMEDIES, REMEDIES, problems, whole
from registryd.observability.metrics import PeerTrouble
from tests.fakes.overviews import overview

PAGE = Path(__file__).parents[2] / "registryd/serving/dashboard.html"


async def shown(kind: str, width: int = 160) -> str:
    told = overview(kind)
    cluster = await told.cluster(with_names=True)
    more = {name: cluster[name] for name in ("view", "own_host")}
    answer = {**await told.status(with_names=True), **more, "cluster": cluster["members"]}
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Group(*whole(json.loads(json.dumps(answer)))))
    return console.export_text()


async def test_problems_come_first_with_their_remedies() -> None:
    text = await shown("damaged")
    lines = text.splitlines()
    assert re.match(r"! node3: no answer, since .+\. Is the node up\?", lines[0])
    assert re.search(r"^! 10\.0\.0\.11:3173: clock", text, re.MULTILINE)
    assert "! whoever reaches the peers' ports may fetch this node's images." in text
    assert "! node5: containerd does not answer." in text
    assert "! agents of 2 versions: 0.9.2, 1.0.0." in text
    assert "! images that only one node has: node1 (1), node4 (2)." in text
    assert "!" not in await shown("idle")


async def test_what_most_members_show_is_one_statement_about_this_node() -> None:
    first, second, *rest = (await shown("odd")).splitlines()
    assert re.match(r"! this node and 9 of 11 members: another secret, since .+\. It is this node ", first)
    assert "node5: no answer" in second
    assert not [line for line in rest if "another secret" in line]


async def test_a_problem_that_is_a_question_ends_as_one() -> None:
    told = overview("idle")
    answer = {**await told.status(with_names=True), "cluster": []}
    answer["node"] = {**answer["node"], "problem": "containerd cannot be reached: does it run?"}
    first, *_ = problems(answer, {})
    assert first.startswith("this node: containerd cannot be reached: does it run? Pulls go on")


async def test_who_feeds_whom_is_a_tree() -> None:
    text = await shown("busy")
    assert re.search(r"node1 gives\n.*node2 .*90 %\n.*node4 .*74 %\n.*node6 .*55 %", text)
    assert text.index("node7") > text.index("node3")
    assert "ghcr.io/corp/api:2026.11.3  812.0 MB" in text


async def test_savings_spread_and_pulls_are_there() -> None:
    text = await shown("busy")
    assert re.search(r"Saved  \[.{24}\]  360\.0 GB in 24 h, 91 % of all; 36\.0 GB from elsewhere", text)
    assert "3 of 12" in text
    assert "only here" in await shown("damaged")
    assert "left a slow source: 10.0.0.8" in await shown("busy", 300)


@pytest.mark.parametrize("kind", ["idle", "busy", "damaged"])
async def test_it_fits_into_a_narrow_terminal(kind: str) -> None:
    assert max(map(len, (await shown(kind, 80)).splitlines())) <= 80


@pytest.mark.parametrize(("name", "expected"), [("remedies", REMEDIES), ("ownRemedies", OWN_REMEDIES)])
def test_the_page_has_the_same_remedies(name: str, expected: dict[str, str]) -> None:
    script = PAGE.read_text(encoding="utf-8")
    table = script.partition(f"const {name} = {{")[2].partition("};")[0]
    assert dict(re.findall(r'"([^"]+)":\s*"([^"]+)"', table)) == expected


@pytest.mark.parametrize("remedies", [REMEDIES, OWN_REMEDIES])
def test_there_is_a_remedy_for_each_trouble(remedies: dict[str, str]) -> None:
    assert set(remedies) == set(PeerTrouble)
