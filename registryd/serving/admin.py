"""The admin port: probes and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from registryd.telemetry import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.telemetry import Metrics


class AdminDoor:
    """`/livez`: the event loop turns. `/readyz`: the agent can serve, or why not. `/metrics`: Prometheus text."""

    def __init__(self, *, metrics: Metrics, not_ready: Callable[[], Awaitable[str | None]]) -> None:
        """`not_ready` tells in a few words what is missing, or None when nothing is."""
        self._metrics = metrics
        self._not_ready = not_ready

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/livez":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            missing = await self._not_ready()
            return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)
        if request.path == "/metrics":
            return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})
        return web.Response(status=404, text="/livez, /readyz, /metrics\n")
