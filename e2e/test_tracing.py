"""A pull is a span within containerd's own trace, where containerd has one: its requests to a mirror carry it."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lab.agent import PATIENT
from lab.cluster import NodePlan, running_cluster
from lab.containerd_config import Options
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

_PORT = 4318  # of OTLP over HTTP


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes


@dataclass
class Collector:
    """Takes spans by OTLP over HTTP."""

    spans: list[Span] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {each.key: each.value.string_value for each in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    at = span.trace_id, span.span_id, span.parent_span_id
                    self.spans.append(Span(names.get("service.name", ""), span.name, *at))
        self._news.set()
        return web.Response(content_type="application/x-protobuf")

    async def wait_span(self, service: str, name: str) -> Span:
        async with asyncio.timeout(60):
            while True:
                if found := [span for span in self.spans if (span.service, span.name) == (service, name)]:
                    return found[0]
                self._news.clear()
                await self._news.wait()

    async def wait_id(self, id_: bytes) -> Span:
        async with asyncio.timeout(60):
            while True:
                if found := [span for span in self.spans if span.id == id_]:
                    return found[0]
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def collecting(namespace: Namespace) -> AsyncIterator[Collector]:
    """On the loopback of a node."""
    collector = Collector()
    listener = namespace.open_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    namespace.call(lambda: listener.bind(("127.0.0.1", _PORT)))
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/traces", collector.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield collector
    finally:
        await runner.cleanup()


async def test_a_pull_joins_containerds_trace(newest: Release, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containerds and agents of the lab get this environment."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{_PORT}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "")
    # The lab has tracing disabled otherwise.
    options = Options(extra={"disabled_plugins": ["io.containerd.nri.v1.nri"]})
    plan = NodePlan(newest, options, agent=merged(PATIENT, {"pulls": {"traces": True}}))
    async with running_cluster([plan, plan]) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        async with collecting(second.host.namespace) as collector:
            await second.pull(reference)
            span = await collector.wait_span("registryd", f"pull {reference}")
            assert span.parent, "containerd's requests carried no trace"
            parent = await collector.wait_id(span.parent)
            print(f"\n{newest}: the pull's span is below {parent.service}'s {parent.name!r}")
            assert parent.service == "containerd"
            assert parent.trace == span.trace
