"""What Helm says after an installation: where to look, and what a choice of values means for private images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chart.cases import CASES

if TYPE_CHECKING:
    from tests.chart.conftest import Helm, Object

DOCUMENT = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
SELECTOR = "app.kubernetes.io/instance=registryd,app.kubernetes.io/component=removal"
LOOKS_AT_A_REMOVAL = (
    "kubectl -n kube-system logs job/registryd-removal",
    f"kubectl -n kube-system get pods -o wide -l {SELECTOR}",
)
LOGIN: Object = {"images": ["ghcr.io/acme/app:v1"], "dockerConfigSecret": "logins"}
OPEN_TO_EVERY_POD = "Every pod of a node may use the images"
MODE_OPEN = "WARNING: mode open"


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_no_line_is_half_rendered(helm: Helm, values: Object) -> None:
    notes = helm.render(values).notes
    assert notes.strip()
    assert "<no value>" not in notes
    assert "%!" not in notes


def test_which_node_is_not_done_is_found_as_the_document_says(helm: Helm) -> None:
    notes = [line.strip() for line in helm.render().notes.splitlines()]
    for command in LOOKS_AT_A_REMOVAL:
        assert command in notes
        assert command in DOCUMENT
    assert "--no-hooks" in helm.render().notes


def test_commands_are_those_of_the_document(helm: Helm) -> None:
    """But for names of the prefetch's and the cache's own, of which the document has examples only."""
    said = [line.strip() for line in helm.render().notes.splitlines() if line.strip().startswith("kubectl ")]
    assert len(said) == 6
    assert [command for command in said if command not in DOCUMENT] == []


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({}, False),
        ({"prefetch": {"images": ["alpine"]}}, False),
        ({"prefetch": {**LOGIN, "by": "kubelet"}}, False),
        ({"prefetch": {**LOGIN, "by": "agent", "forEveryPod": True}}, True),
    ],
)
def test_a_login_for_what_every_pod_may_use_is_warned_of(helm: Helm, values: Object, *, warned: bool) -> None:
    assert (OPEN_TO_EVERY_POD in helm.render(values).notes) is warned


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({}, False),
        ({"authorization": {"mode": "upstream"}}, False),
        ({"authorization": {"mode": "open"}}, True),
        ({"authorization": {"registries": {"ghcr.io": "open"}}}, True),
    ],
)
def test_what_mode_open_makes_of_kubelets_records_is_warned_of(helm: Helm, values: Object, *, warned: bool) -> None:
    assert (MODE_OPEN in helm.render(values).notes) is warned


def test_a_cluster_without_secret_is_warned_of(helm: Helm) -> None:
    assert "WARNING: peers.insecure is set" in helm.render({"peers": {"insecure": True}}).notes
