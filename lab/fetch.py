"""One HTTP request, also into a namespace."""

from __future__ import annotations

import asyncio
import http.client
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.namespaces import Namespace


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Request:
    url: str  # plain http
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | BinaryIO = b""
    timeout: float = 30  # seconds for each step on the socket


async def fetch(request: Request | str, *, namespace: Namespace | None = None) -> Response:
    """Raises OSError when there is no complete answer."""
    wanted = Request(request) if isinstance(request, str) else request
    try:
        return await asyncio.to_thread(_exchange, wanted, namespace)
    except http.client.HTTPException as error:
        raise ConnectionError(f"{wanted.url}: {error!r}") from error


def _exchange(request: Request, namespace: Namespace | None) -> Response:
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80)
    connection.sock = _connect(connection, namespace, request.timeout)
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    try:
        connection.request(request.method, target, request.body or None, dict(request.headers))
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, headers, answer.read())
    finally:
        connection.close()


def _connect(connection: http.client.HTTPConnection, namespace: Namespace | None, timeout: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in connection.host else socket.AF_INET
    sock = namespace.open_socket(family) if namespace else socket.socket(family)
    try:
        sock.settimeout(timeout)
        sock.connect((connection.host, connection.port))
    except OSError:
        sock.close()
        raise
    return sock
