"""Probes and metrics."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import make_mocked_request

from registryd.content.background import Announced, TooManyAnnounced
from registryd.content.trial import TooManyTrials
from registryd.observability.metrics import Metrics
from registryd.observability.prometheus import CONTENT_TYPE
from registryd.serving.admin import BODIES_AT, AdminDoor, _is_from_here
from registryd.serving.listener import open_door
from tests.serving.conftest import LOOPBACK, Client, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web


@asynccontextmanager
async def serving(missing: list[str]) -> AsyncIterator[Client]:
    async def not_ready() -> str | None:
        return missing[0] if missing else None

    door = AdminDoor(metrics=Metrics(), not_ready=not_ready)
    async with open_door(door.handle, LOOPBACK) as opened, client_of(opened.address) as client:
        yield client


async def test_ready_only_while_nothing_is_missing() -> None:
    missing = ["containerd does not answer"]
    async with serving(missing) as client:
        waiting = await client.get("/readyz")
        missing.clear()
        ready = await client.get("/readyz")
    assert (waiting.status, waiting.body) == (503, b"containerd does not answer\n")
    assert (ready.status, ready.body) == (200, b"ok\n")


async def test_alive_even_when_not_ready() -> None:
    async with serving(["something"]) as client:
        assert (await client.get("/livez")).status == 200


async def test_metrics_are_in_prometheus_text_format() -> None:
    async with serving([]) as client:
        answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert b"registryd_build_info{" in answer.body


async def test_nothing_else_is_there() -> None:
    async with serving([]) as client:
        assert (await client.get("/v2/")).status == 404
        assert (await client.get("/metrics", method="POST")).status == 405


class FakeOverview:
    """An agent with one image, of which strangers are not to hear."""

    async def status(self, *, with_names: bool) -> dict[str, object]:
        return {"names": ["ghcr.io/acme/secret:v1"] if with_names else []}

    async def cluster(self, *, with_names: bool) -> dict[str, object]:
        return {"members": ["ghcr.io/acme/secret:v1"] if with_names else []}

    async def checkup(self) -> dict[str, object]:
        return {"members": []}

    async def begin_trial(self, registry: str) -> dict[str, object]:
        if registry == "busy.lab":
            raise TooManyTrials("4 trials are going on")
        return {"reference": f"{registry}/trial"}

    def brings(self, announced: Announced, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("seconds: from 0 to 3600")
        if str(announced.repository) == "busy.lab/app":
            raise TooManyAnnounced("4000 images are announced")

    def ends(self, by: str) -> None:
        assert by == "list gpu"


@asynccontextmanager
async def showing(
    seen_as: Callable[[web.BaseRequest], web.BaseRequest] = lambda request: request,
) -> AsyncIterator[Client]:
    """`seen_as`: what the door takes a request for."""

    async def not_ready() -> None:
        return None

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await door.handle(seen_as(request))

    door = AdminDoor(metrics=Metrics(), not_ready=not_ready)
    door.show(FakeOverview())
    opened_door = open_door(handle, LOOPBACK, bodies_at=BODIES_AT)
    async with opened_door as opened, client_of(opened.address) as client:
        yield client


async def test_this_machine_is_told_what_there_is() -> None:
    async with showing() as client:
        assert b"secret" in (await client.get("/status")).body
        assert b"secret" in (await client.get("/cluster")).body
        assert (await client.get("/checkup")).body == b'{"members": []}'
        assert (await client.post("/trial", {"registry": "docker.io"})).status == 200


async def test_another_machine_is_told_no_names_and_begins_nothing() -> None:
    """The door may be on the node's address, for Prometheus."""
    async with showing(from_elsewhere) as client:
        for path in ("/status", "/cluster"):
            answer = await client.get(path)
            assert (answer.status, b"secret" in answer.body) == (200, False)
        assert (await client.get("/checkup")).status == 403
        assert (await client.post("/trial", {"registry": "docker.io"})).status == 403
        assert (await client.post("/background", {"by": "list gpu"})).status == 403


def from_elsewhere(request: web.BaseRequest) -> web.BaseRequest:
    """The same request, from another machine."""
    return request.clone(remote="192.0.2.1")


async def test_a_page_of_another_site_is_told_nothing() -> None:
    """A browser that was led here by a name of theirs says so in Host."""
    async with showing() as client:
        for path in ("/", "/status", "/cluster", "/checkup"):
            assert (await client.get(path, Host="evil.example")).status == 403
        for path in BODIES_AT:
            assert (await client.post_raw(path, b'{"registry": "docker.io"}', Host="evil.example")).status == 403


@pytest.mark.parametrize(
    ("host", "is_shown"),
    [
        ("localhost:3175", True),
        ("127.0.0.1", True),
        ("[::1]:3175", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("[::1].evil.example", False),
        ("[localhost]", False),
        ("evil.example:127.0.0.1", False),
        ("", False),
    ],
)
async def test_only_an_address_is_the_address_of_a_node(host: str, *, is_shown: bool) -> None:
    async with showing() as client:
        assert (await client.get("/status", Host=host)).status == (200 if is_shown else 403)


async def test_only_a_post_of_json_begins_a_trial() -> None:
    async with showing() as client:
        assert (await client.get("/trial")).status == 405
        assert (await client.get("/trial", method="POST")).status == 403
        assert (await client.get("/trial", method="POST", Content_Type="application/json")).status == 400


async def test_too_many_trials_at_once_are_told_to_wait() -> None:
    async with showing() as client:
        assert (await client.post("/trial", {"registry": "docker.io"})).status == 200
        answer = await client.post("/trial", {"registry": "busy.lab"})
        assert answer.status == 429
        assert b"4 trials are going on" in answer.body


async def test_what_is_brought_is_announced_by_this_machine() -> None:
    async with showing() as client:
        assert (await client.post("/background", {"repository": "ghcr.io/corp/app", "seconds": 60})).status == 204
        assert (await client.post("/background", {"repository": "busy.lab/app", "seconds": 60})).status == 429
        assert (await client.post("/background", {"repository": "ghcr.io/corp/app", "seconds": -1})).status == 400
        assert (await client.post("/background", {"repository": "ghcr.io/corp/app"})).status == 400
        known = {"repository": "ghcr.io/corp/app", "reference": "v1", "by": "list gpu", "seconds": 60}
        assert (await client.post("/background", known)).status == 204
        assert (await client.post("/background", {**known, "reference": "no tag"})).status == 400
        assert (await client.post("/background", {**known, "by": "x" * 201})).status == 400
        assert (await client.post("/background", {**known, "repository": "no repository"})).status == 400
        assert (await client.post("/background", {"by": "list gpu"})).status == 204
        assert (await client.post("/background", {"by": ""})).status == 400
        assert (await client.get("/background")).status == 405


NONSENSE = (
    b"[" * 4000,
    b'{"registry": ' * 300,
    b"[]",
    b"[1]",
    b'"registry"',
    b'{"registry": null}',
    b'{"registry": ["docker.io"]}',
    b'{"repository": "ghcr.io/corp/app", "seconds": %s}' % (b"9" * 4000),
    b'{"repository": "ghcr.io/corp/app", "seconds": true}',
    b'{"repository": "ghcr.io/corp/app", "seconds": "60"}',
    b'{"repository": 1, "seconds": 60}',
    b'{"repository": "ghcr.io/corp/app", "reference": [], "seconds": 60}',
    b'{"by": {"a": 1}}',
    b"3",
    b"null",
    b"9" * 4096,
    b"\xff",
    b" " * 5000,
    b"[" * 5_000_000,
)


@pytest.mark.parametrize("path", sorted(BODIES_AT))
@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
async def test_nonsense_is_refused_in_a_line(path: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with showing() as client:
        answer = await client.post_raw(path, body)
        assert answer.status == 400
        assert len(answer.body.splitlines()) == 1
    assert not caplog.records


async def test_before_the_agent_has_started_there_is_nothing_to_see() -> None:
    async with serving(["starting"]) as client:
        assert (await client.get("/status")).status == 503


async def test_a_cache_by_itself_says_that_it_has_no_cluster_to_tell_of() -> None:
    async with serving([]) as client:
        answer = await client.get("/status")
        assert (answer.status, b"no member" in answer.body) == (404, True)


async def test_the_page_needs_nothing_from_anywhere_else() -> None:
    async with showing() as client:
        page = await client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    assert b"src=" not in page.body
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("remote", "asked", "is_here"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("fd00::1", "fd00::1", True),
        ("10.0.0.2", "10.0.0.1", False),
        ("", "", False),
        ("?", "?", False),
    ],
)
def test_who_is_on_this_machine(remote: str, asked: str, is_here: bool) -> None:
    assert _is_from_here(make_mocked_request("GET", "/status", transport=_transport(remote, asked))) == is_here


def _transport(remote: str, asked: str) -> Any:
    class Connection(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return {"peername": (remote, 1), "sockname": (asked, 3175)}.get(name, default)

    return Connection()
