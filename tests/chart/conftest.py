"""The chart, rendered by a real Helm without a cluster."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from helm_python import Chart

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).parents[2] / "charts" / "registryd"
NAMESPACE = "kube-system"
Object = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """The objects that a set of values makes, and what Helm says afterwards."""

    objects: tuple[Object, ...]
    notes: str

    def all(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = "registryd") -> Object:
        (found,) = [each for each in self.all(kind) if each["metadata"]["name"] == name]
        return found

    @property
    def pod(self) -> Object:
        """The agent's pod."""
        (daemonset,) = [
            each
            for each in self.all("DaemonSet")
            if each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "agent"
        ]
        found: Object = daemonset["spec"]["template"]["spec"]
        return found

    @property
    def agent(self) -> Object:
        (found,) = self.pod["containers"]
        return dict(found)

    @property
    def cache_pod(self) -> Object:
        found: Object = self.one("Deployment", "registryd-cache")["spec"]["template"]["spec"]
        return found

    @property
    def cache(self) -> Object:
        (found,) = self.cache_pod["containers"]
        return dict(found)


class Helm:
    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        self._known: dict[str, Rendered] = {}

    def render(self, values: Object | None = None) -> Rendered:
        """As a release called registryd; the same values are rendered once."""
        key = json.dumps(values)
        if key not in self._known:
            self._known[key] = self.render_anew(values)
        return self._known[key]

    def render_anew(self, values: Object | None = None) -> Rendered:
        return self.render_as("registryd", values)

    def render_as(self, release: str, values: Object | None = None) -> Rendered:
        return parse(self._chart.render(values or {}, name=release, namespace=NAMESPACE))


def variables_of(container: Object, given: dict[str, str]) -> dict[str, str]:
    """The settings among a container's variables, as the kubelet expands them."""
    return {
        entry["name"]: re.sub(r"\$\((\w+)\)", lambda match: given[match[1]], entry["value"])
        for entry in container["env"]
        if entry["name"].startswith("REGISTRYD_")
    }


class OneMeaning(yaml.SafeLoader):
    """Refuses a key that comes twice, as kustomize does; PyYAML takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 - PyYAML's
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key comes twice among {keys}{node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def parse(manifests: dict[str, str]) -> Rendered:
    documents = [
        document
        for path, text in sorted(manifests.items())
        if path.endswith(".yaml")
        for document in yaml.load_all(text, OneMeaning)
    ]
    (notes,) = [text for path, text in manifests.items() if path.endswith("/NOTES.txt")]
    return Rendered(tuple(document for document in documents if document), notes)


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    with Chart.load(CHART) as chart:
        yield Helm(chart)
