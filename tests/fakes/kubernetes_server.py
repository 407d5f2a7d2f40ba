"""A FakeCluster behind HTTPS, as an API server: get, list, watch, create, update, apply, delete of any resource.

Knows no schemas, defaults, controllers or admission. Faults are attributes and methods.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.certificates import server_tls
from tests.fakes.kubernetes import FakeCluster, Gone, Key, Object, Selection
from tests.fakes.kubernetes_discovery import discovery_documents

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator
    from pathlib import Path

# /api/v1/… for the core group, /apis/GROUP/VERSION/… for the others.
_PREFIXES = ("/api/{version}", "/apis/{group}/{version}")
_PATHS = (
    "/{plural}",
    "/{plural}/{name}",
    "/namespaces/{namespace}/{plural}",
    "/namespaces/{namespace}/{plural}/{name}",
)


@dataclass(frozen=True)
class Refusal:
    """What is answered instead of what was asked for."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class FakeApiServer:
    """What it was asked is in `requests`; `token` (empty: anything goes) is the only one that it accepts."""

    def __init__(self, cluster: FakeCluster | None = None, *, token: str = "") -> None:
        self.cluster = cluster or FakeCluster()
        self.token = token
        self.requests: list[web.Request] = []
        self.refusal: Refusal | None = None
        self.list_body: bytes | None = None
        self.url = ""
        self._watches: set[web.StreamResponse] = set()
        self._has_watch = asyncio.Event()

    async def wait_watched(self) -> None:
        """Return when a watch has begun."""
        await self._has_watch.wait()

    # Faults

    async def send_raw(self, data: bytes) -> None:
        """Put these bytes into every watch."""
        for watch in self._watches:
            await watch.write(data)

    def reset_watches(self) -> None:
        """Break the connections of all watches, as a server that dies."""
        for request in self.requests:
            if "watch" in request.query and request.transport:
                request.transport.abort()

    # Requests

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._admit])
        for path, document in discovery_documents("v1.31.0"):
            app.router.add_get(path, partial(_say, document))
        for prefix in _PREFIXES:
            for path in _PATHS:
                app.router.add_route("*", prefix + path, self._answer)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(request)
        if self.refusal:
            return web.Response(status=self.refusal.status, body=self.refusal.body, headers=self.refusal.headers)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        key = _key_of(request)
        if request.method == "GET":
            if request.query.get("watch") in {"1", "true"}:
                return await self._watch(request, _selection(request, key))
            return self._get(key) if key.name else self._list(request, _selection(request, key))
        if request.method == "DELETE":
            return self._delete(key)
        return self._write(request.method, key, json.loads(await request.read()))

    def _get(self, key: Key) -> web.Response:
        found = self.cluster.get(key)
        return web.json_response(found) if found else _status(404, "NotFound")

    def _list(self, request: web.Request, selection: Selection) -> web.Response:
        if self.list_body is not None:
            return web.Response(body=self.list_body)
        # A list at version 0 comes out of the cache, which does not page.
        limit = 0 if request.query.get("resourceVersion") == "0" else int(request.query.get("limit", "0"))
        try:
            part = self.cluster.list_part(selection, limit=limit, token=request.query.get("continue", ""))
        except Gone:
            return web.json_response(Gone.status, status=410)
        return web.json_response(part)

    async def _watch(self, request: web.Request, selection: Selection) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:  # a list within a watch, beta in 1.32: clients then list first
            return _status(422, "Invalid")
        since = int(request.query.get("resourceVersion") or 0)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        self._watches.add(answer)
        self._has_watch.set()
        try:
            bookmarks = request.query.get("allowWatchBookmarks") == "true"
            async with aclosing(self.cluster.watch(selection, since=since, bookmarks=bookmarks)) as events:
                async for event in events:
                    await answer.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watches.discard(answer)
        return answer

    def _write(self, method: str, key: Key, body: Object) -> web.Response:
        named = key._replace(name=key.name or body["metadata"]["name"])
        before = self.cluster.get(named)
        if method == "POST" and before:
            return _status(409, "AlreadyExists")
        created = method == "POST" or before is None
        content = _merged(before or {}, body) if method == "PATCH" else body
        return web.json_response(self.cluster.put(named, content), status=201 if created else 200)

    def _delete(self, key: Key) -> web.Response:
        return _status(200, "Success") if self.cluster.delete(key) else _status(404, "NotFound")


@asynccontextmanager
async def running_api_server(
    server: FakeApiServer, folder: Path, *, host: str = "127.0.0.1", listener: socket.socket | None = None
) -> AsyncIterator[None]:
    """Serve over HTTPS; `folder` gets the authority that clients are to trust, as `ca.crt`.

    `listener` is a socket that is bound to an address of `host` already, perhaps in another network namespace.
    """
    # A handler must end when its client goes away, as here every watch would last for ever.
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        tls = server_tls(folder, host)
        site = (
            web.SockSite(runner, listener, ssl_context=tls)
            if listener
            else web.TCPSite(runner, host, 0, ssl_context=tls)
        )
        await site.start()
        (address,) = runner.addresses
        server.url = f"https://[{host}]:{address[1]}" if ":" in host else f"https://{host}:{address[1]}"
        yield
    finally:
        await runner.cleanup()


async def _say(document: Object, _: web.Request) -> web.Response:
    return web.json_response(document)


def _key_of(request: web.Request) -> Key:
    part = request.match_info
    group = part.get("group", "")
    resource = f"{part['plural']}.{group}" if group else part["plural"]
    return Key(resource, part.get("namespace", ""), part.get("name", ""))


def _selection(request: web.Request, key: Key) -> Selection:
    pairs = [pair.partition("=") for pair in request.query.get("labelSelector", "").split(",") if pair]
    fields = dict(pair.split("=") for pair in request.query.get("fieldSelector", "").split(",") if pair)
    labels = frozenset((name, value) for name, _, value in pairs)
    return Selection(key.resource, key.namespace, labels, fields.get("metadata.name", key.name))


def _merged(old: Object, new: Object) -> Object:
    """RFC 7396, which is near enough to what an apply does to objects of one owner."""
    result = dict(old)
    for name, value in new.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], value)
        else:
            result[name] = value
    return result


def _status(code: int, reason: str) -> web.Response:
    outcome = "Success" if code < 400 else "Failure"
    body = {"kind": "Status", "apiVersion": "v1", "status": outcome, "reason": reason, "message": reason, "code": code}
    return web.json_response(body, status=code)
