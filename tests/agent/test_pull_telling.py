"""A pull is told as a Kubernetes event and as a span if that is asked for, so often and no more; nothing is unasked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from registryd.agent.pull_events import PullEvents, sentence
from registryd.agent.pull_spans import PullSpans
from registryd.agent.pull_telling import tell_pulls
from registryd.aio.scope import open_scope
from registryd.cluster.kubernetes import ApiFailed, Pod, open_pod_events
from registryd.config.agent import PullsSettings, Settings, SettingsError
from registryd.content.pull_log import LoggedPull, PullLog
from tests.fakes.kubernetes import Selection
from tests.fakes.kubernetes_server import FakeApiServer, Refusal, running_api_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

POD = Pod("registryd", "registryd-x7k2p", "5d3f0c1e-8a8b-4f1e-9c2d-0123456789ab")
TOLD: dict[str, Any] = {
    "image": "ghcr.io/corp/app:1.2.3",
    "node": "node7",
    "began": 1000.0,
    "ended": 1004.5,
    "size": 43_000_000,
    "share": 0.75,
    "sources": {"10.0.0.7": 0.75, "elsewhere": 0.25},
    "slowed": ["left a slow source: 10.0.0.9"],
}
PULL = LoggedPull("ghcr.io/corp/app", 1000.0, tag="1.2.3")


class FakeEvents:
    """Keeps what is written, or refuses it."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.refusal = ""

    async def write(self, reason: str, message: str) -> None:
        assert reason == "ImagePulled"
        if self.refusal:
            raise ApiFailed(self.refusal)
        self.written.append(message)


@asynccontextmanager
async def running(events: FakeEvents) -> AsyncIterator[PullEvents]:
    told = PullEvents(events)
    task = asyncio.create_task(told.run())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait((task,))


def test_a_pull_is_a_sentence() -> None:
    assert sentence(TOLD) == (
        "ghcr.io/corp/app:1.2.3: 43.0 MB in 4.5 s from 10.0.0.7 75 %, elsewhere 25 %; left a slow source: 10.0.0.9"
    )


@pytest.mark.looptime
async def test_events_are_bounded_and_what_was_left_out_is_counted() -> None:
    events = FakeEvents()
    async with running(events) as told:
        for _ in range(100):
            told.pulled(PULL, TOLD)
        await asyncio.sleep(1)
        assert len(events.written) == 20
        await asyncio.sleep(30)
        for _ in range(3):
            told.pulled(PULL, TOLD)
        await asyncio.sleep(1)
        assert len(events.written) == 21
        assert events.written[-1].endswith("(80 more were not told)")
        await asyncio.sleep(3600)
        for _ in range(100):
            told.pulled(PULL, TOLD)
        await asyncio.sleep(1)
        assert len(events.written) == 41


async def test_a_refused_event_is_one_line_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    events = FakeEvents()
    async with running(events) as told:
        events.refusal = "the API server answered 403: no"
        for _ in range(3):
            told.pulled(PULL, TOLD)
        await asyncio.sleep(0.05)
        events.refusal = ""
        told.pulled(PULL, TOLD)
        await asyncio.sleep(0.05)
    assert len(events.written) == 1
    assert len([record for record in caplog.records if "could be written" in record.message]) == 1


# At an API server


async def test_an_event_is_on_the_pod_and_needs_the_token(tmp_path: Path) -> None:
    server = FakeApiServer(token="good")
    (tmp_path / "token").write_text("good")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_api_server(server, tmp_path))
        host, _, port = server.url.removeprefix("https://").partition(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        opening = open_pod_events(POD, "node7", environment=environment, folder=tmp_path)
        events = await stack.enter_async_context(opening)
        await events.write("ImagePulled", "x" * 5000)
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/api/v1/namespaces/registryd/events")
        (event,) = server.cluster.select(Selection("events", "registryd"))
        assert event["involvedObject"]["uid"] == POD.uid
        assert event["source"] == {"component": "registryd", "host": "node7"}
        assert len(event["message"]) == 1024
        server.refusal = Refusal(403, b'{"kind": "Status", "message": "events is forbidden"}')
        with pytest.raises(ApiFailed, match="403: events is forbidden"):
            await events.write("ImagePulled", "no")
    with pytest.raises(ApiFailed):
        async with open_pod_events(POD, "node7", environment=environment, folder=tmp_path) as others:
            await others.write("ImagePulled", "the server is gone")


@pytest.mark.parametrize("text", ["", "a/b", "../x/y", "a/b/c/d", "A/b/c", "ns/$(POD_NAME)/x"])
def test_what_is_no_pod_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="namespace/name/uid"):
        Pod.parse(text)


async def test_outside_of_a_pod_there_are_no_events() -> None:
    settings = Settings(pulls=PullsSettings(events_pod="ns/name/uid"))
    async with AsyncExitStack() as stack, open_scope() as scope:
        with pytest.raises(SettingsError, match=r"pulls\.events_pod"):
            await tell_pulls(settings, PullLog(), scope, stack)
        scope.stop()


# As spans


@pytest.mark.parametrize(
    ("traceparent", "trace", "parent"),
    [
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            0x4BF92F3577B34DA6A3CE929D0E0E4736,
            0x00F067AA0BA902B7,
        ),
        ("", None, None),
        ("nonsense", None, None),
        ("00-" + "0" * 32 + "-" + "0" * 16 + "-01", None, None),
    ],
)
def test_a_span_joins_the_trace_of_containerd(traceparent: str, trace: int | None, parent: int | None) -> None:
    exporter = InMemorySpanExporter()
    spans = PullSpans("node7", processor=SimpleSpanProcessor(exporter))
    spans.pulled(LoggedPull("ghcr.io/corp/app", 1000.0, traceparent=traceparent), TOLD)
    spans.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "pull ghcr.io/corp/app:1.2.3"
    assert (span.start_time, span.end_time) == (1000 * 10**9, 1004_500_000_000)
    assert span.attributes is not None
    assert (span.attributes["registryd.size"], span.attributes["registryd.share"]) == (43_000_000, 0.75)
    assert span.resource.attributes["host.name"] == "node7"
    assert (span.parent.span_id if span.parent else None) == parent
    assert trace is None or span.context.trace_id == trace


def test_nothing_of_opentelemetry_is_loaded_unasked() -> None:
    """Of all that an agent imports, with and without its command line."""
    program = (
        "import registryd.__main__, registryd.agent.running, registryd.agent.assembly, registryd.agent.cache, sys;"
        "sys.exit(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
