"""The dashboard and the alerts ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from registryd.observability.metrics import CopyState, FindOutcome, Metrics, Outcome, PeerState, Source
from tests.chart.cases import CASES
from tests.chart.conftest import CHART

if TYPE_CHECKING:
    from tests.chart.conftest import Helm

# What Prometheus and the operator's relabelling add to every sample.
ADDED = {"namespace", "node", "pod", "instance", "job", "le", "version"}
VALUES = {"outcome": {*Outcome, *FindOutcome}, "source": set(Source), "state": {*PeerState, *CopyState}}
SELECTOR = re.compile(r"\b(?P<name>(?:registryd|process|kube)_\w+)(?:\{(?P<matchers>[^}]*)\})?")
MATCHER = re.compile(r"(?P<label>\w+)\s*(?:=~|!~|!=|=)\s*\"(?P<value>[^\"]*)\"")


def exposed() -> dict[str, set[str]]:
    """Every sample that an agent exposes, and its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(Metrics().render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions(helm: Helm) -> list[str]:
    dashboard = json.loads((CHART / "dashboards" / "registryd.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    (rule,) = helm.render(CASES["all monitoring"]).all("PrometheusRule")
    alerts = [entry["expr"] for group in rule["spec"]["groups"] for entry in group["rules"]]
    assert len(panels) > 10
    assert len(alerts) > 5
    return panels + alerts


def test_every_metric_and_label_exists(helm: Helm) -> None:
    known = exposed()
    for expression in expressions(helm):
        for selector in SELECTOR.finditer(expression):
            name = selector["name"]
            if name.startswith("kube_"):
                continue
            assert name in known, expression
            for matcher in MATCHER.finditer(selector["matchers"] or ""):
                label, value = matcher["label"], matcher["value"]
                assert label in known[name] | ADDED, expression
                if label in VALUES:
                    assert set(value.split("|")) <= VALUES[label], expression


def test_parentheses_are_closed(helm: Helm) -> None:
    for expression in expressions(helm):
        for left, right in ("()", "{}", "[]"):
            assert expression.count(left) == expression.count(right), expression


def test_every_alert_says_on_which_node_or_how_many(helm: Helm) -> None:
    (rule,) = helm.render(CASES["all monitoring"]).all("PrometheusRule")
    for entry in rule["spec"]["groups"][0]["rules"]:
        assert "{{ $" in entry["annotations"]["summary"]
        assert entry["labels"] == {"severity": "warning", "team": "platform"}


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_monitors_find_the_agents_and_name_their_nodes(helm: Helm, kind: str) -> None:
    rendered = helm.render(CASES["all monitoring"])
    (monitor,) = rendered.all(kind)
    labels = rendered.one("Service")["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in rendered.one("Service")["spec"]["ports"]}
    assert endpoint["relabelings"][0]["targetLabel"] == "node"


def test_the_dashboard_is_in_the_config_map_as_it_is(helm: Helm) -> None:
    maps = helm.render(CASES["all monitoring"]).all("ConfigMap")
    (config_map,) = [each for each in maps if each["metadata"]["name"].endswith("-dashboard")]
    original = json.loads((CHART / "dashboards" / "registryd.json").read_text())
    assert json.loads(config_map["data"]["registryd.json"]) == original
