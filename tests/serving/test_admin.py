"""Probes and metrics."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from registryd.serving.admin import AdminDoor
from registryd.serving.listener import open_door
from registryd.telemetry import CONTENT_TYPE, Metrics
from tests.serving.conftest import LOOPBACK, Client, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
        assert (await client.get("/")).status == 404
        assert (await client.get("/metrics", method="POST")).status == 405
