"""EndpointSlices as Kubernetes writes them, and an API that serves them from a FakeCluster without a network."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registryd.cluster.members.discovery.kubernetes.answers import read_event, read_page
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired
from tests.fakes.kubernetes import FakeCluster, Gone, Key, Selection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from registryd.cluster.members.discovery.kubernetes.answers import Event, SlicePage

SLICES = "endpointslices.discovery.k8s.io"
NAMESPACE = "kube-system"
SERVICE = "registryd"
PORT_NAME = "peers"
PORT = 3173
OURS = Selection(SLICES, NAMESPACE, frozenset({("kubernetes.io/service-name", SERVICE)}))


@dataclass(frozen=True)
class Pod:
    """An endpoint as the controller describes it; `node` names the pod as well."""

    address: str
    node: str = "node-a"
    zone: str = ""
    ready: bool = True
    terminating: bool = False

    def document(self) -> dict[str, Any]:
        conditions = {"ready": self.ready, "serving": self.ready, "terminating": self.terminating}
        reference = {"kind": "Pod", "name": f"registryd-{self.node}", "uid": f"uid-{self.node}"}
        zone = {"zone": self.zone} if self.zone else {}
        return {
            "addresses": [self.address],
            "conditions": conditions,
            "nodeName": self.node,
            "targetRef": reference,
            **zone,
        }


def slice_document(name: str, *pods: Pod, ipv6: bool = False, service: str = SERVICE) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv6" if ipv6 else "IPv4",
        "endpoints": [pod.document() for pod in pods],
        "ports": [
            {"name": "bytes", "port": 3174, "protocol": "TCP"},
            {"name": PORT_NAME, "port": PORT, "protocol": "TCP"},
        ],
    }


def put_slice(cluster: FakeCluster, name: str, *pods: Pod, ipv6: bool = False, service: str = SERVICE) -> None:
    cluster.put(Key(SLICES, NAMESPACE, name), slice_document(name, *pods, ipv6=ipv6, service=service))


def delete_slice(cluster: FakeCluster, name: str) -> None:
    cluster.delete(Key(SLICES, NAMESPACE, name))


class InProcessSliceApi:
    """The SliceApi of a FakeCluster. `failing` is raised by every call while it is set; `calls` says what was asked.

    `open_watches` counts those that have not been closed.
    """

    def __init__(self, cluster: FakeCluster, *, page_size: int = 0) -> None:
        self.calls: list[str] = []
        self.open_watches = 0
        self.failing: ApiFailed | None = None
        self._cluster = cluster
        self._page_size = page_size

    async def list_page(self, *, following: str = "", fresh: bool = False) -> SlicePage:
        self.calls.append("next page" if following else "fresh list" if fresh else "list")
        self._fail_if_told()
        try:
            part = self._cluster.list_part(OURS, limit=self._page_size, token=following)
        except Gone as error:
            raise VersionExpired(str(error)) from error
        return read_page(json.dumps(part).encode(), port_name=PORT_NAME)

    async def watch(self, since: str) -> AsyncGenerator[Event, None]:
        self.calls.append(f"watch {since}")
        self._fail_if_told()
        self.open_watches += 1
        try:
            async for event in self._cluster.watch(OURS, since=int(since), bookmarks=True):
                yield read_event(json.dumps(event).encode(), port_name=PORT_NAME)
                self._fail_if_told()
        finally:
            self.open_watches -= 1

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[InProcessSliceApi]:
        yield self

    def _fail_if_told(self) -> None:
        if self.failing:
            raise self.failing
