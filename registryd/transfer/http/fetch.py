"""Asking a source for bytes over HTTP/1.1, up to the point where it has shown that it gives them."""

from __future__ import annotations

import asyncio
import re
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from registryd.transfer.errors import SourceBroken, SourceBusy, SourceRefused
from registryd.transfer.http.connection import LOT_SECONDS, connect
from registryd.transfer.http.relay import RelayBody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ssl import SSLContext

    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.http.connection import SourceConnection
    from registryd.transfer.http.pool import ConnectionPool

# Silence in the middle of a body. TCP sends a lost segment again after 0.2, 0.6, 1.4 and 3 s: a link that lost four
# in a row is still waited for, a peer that vanished is not. Half a second longer than the kernel asks a host that is
# silent (connection._KEEPALIVE), which tells whether it is the source that is silent or the way to it that is away.
STALL_TIMEOUT: Final = 5.5


async def fetch(  # noqa: PLR0913 - all are named, and belong to this one request
    address: tuple[str, int],
    path: str,
    *,
    span: Span,
    size: int,
    ssl: SSLContext | None,
    connect_timeout: float,
    first_byte_timeout: float,
    stall_timeout: float = STALL_TIMEOUT,
    lot_seconds: float = LOT_SECONDS,
    headers: Sequence[tuple[str, str]] = (),
    kept: ConnectionPool | None = None,
    on_head: Callable[[Mapping[str, str]], None] = lambda _: None,
    on_sent: Callable[[int], None] = lambda _: None,
) -> Body:
    """Ask a source for a span of content of `size` bytes; returns when its first byte is here (timeouts in seconds).

    Connecting and the TLS handshake may take `connect_timeout`, the first byte after that `first_byte_timeout`.
    What comes slowly is passed on every `lot_seconds`.
    A connection of `kept` is used if there is one, and brought back there with the body's last byte. If it turns out
    to have ended before an answer, which says nothing about the source, a new one is made. `on_head` is told the
    headers of an answer that brings the bytes, their names in lower case, and may raise SourceBroken. `on_sent` is told
    the bytes of the body when it has been sent, or has broken off.
    Raises SourceBroken with the reason: no connection, no answer in time, an answer that is not exactly these bytes;
    SourceBusy for 503, SourceRefused for other statuses.
    """
    question = _Question(
        _write_request(_host(address), path, span=span, is_last=kept is None, headers=headers),
        span=span,
        size=size,
        first_byte_timeout=first_byte_timeout,
        stall_timeout=stall_timeout,
        lot_seconds=lot_seconds,
        keep=None if kept is None else kept.keep,
        on_head=on_head,
        on_sent=on_sent,
    )
    try:
        if kept is not None and (wire := kept.take(address, ssl)) is not None:
            try:
                return await question.ask(wire)
            except SourceBroken:
                if wire.is_answered:
                    raise
        return await question.ask(await connect(address, ssl=ssl, timeout=connect_timeout))
    except TimeoutError as error:
        raise SourceBroken(f"no first byte within {first_byte_timeout:g} s") from error


@dataclass(frozen=True, slots=True)
class _Question:
    """A request, and the answer from which a body can be made."""

    request: bytes
    _: KW_ONLY
    span: Span
    size: int
    first_byte_timeout: float
    stall_timeout: float
    lot_seconds: float
    keep: Callable[[SourceConnection], None] | None
    on_head: Callable[[Mapping[str, str]], None]
    on_sent: Callable[[int], None]

    async def ask(self, wire: SourceConnection) -> Body:
        """The body, when its first byte is here; raises SourceBroken, or TimeoutError when it does not come."""
        try:
            async with asyncio.timeout(self.first_byte_timeout):
                await wire.send(self.request)
                response, early = await _read_head(wire)
                headers = _headers_of(response)
                _check_response(response.status_code, headers, span=self.span, size=self.size)
                self.on_head(headers)
                early = early or await _first_bytes(wire, self.span)
        except BaseException:
            wire.close()
            raise
        keep = self.keep if _allows_another(response) else None
        return RelayBody(
            wire,
            early,
            length=self.span.length,
            stall_timeout=self.stall_timeout,
            lot_seconds=self.lot_seconds,
            keep=keep,
            on_sent=self.on_sent,
        )


def _host(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# As many as come along with the head when it is quick: few enough to copy, the rest goes by the kernel.
_FIRST_BYTES: Final = 16 * 1024


async def _first_bytes(wire: SourceConnection, span: Span) -> bytes:
    if span.length == 0:
        return b""
    buffer = bytearray(min(_FIRST_BYTES, span.length))
    count = await wire.receive(memoryview(buffer))
    if count == 0:
        raise SourceBroken("the source ended before the first byte")
    return bytes(buffer[:count])


# ---------------------------------------------------------------- the heads of request and response, in HTTP/1.1


# A peer's head has a dozen short lines; h11's own default for servers is 16 KiB.
_HEAD_BYTES: Final = 16 * 1024
# No peer of ours sends any, a proxy between them one or two. A parser takes a millisecond for twenty, and whoever sends
# them without end would leave the loop no time for anything else.
_MOST_INTERIM: Final = 8
# Enough for the head and a config or a manifest in one call.
_RECEIVE_BYTES: Final = 64 * 1024
# Retry-After also allows a date; a peer of ours writes seconds.
_SECONDS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


def _write_request(host: str, path: str, *, span: Span, is_last: bool, headers: Sequence[tuple[str, str]]) -> bytes:
    """A GET for these bytes, and whether it is the connection's last.

    Without Range for empty content, of which no range exists.
    """
    wanted = [("Range", f"bytes={span.start}-{span.stop - 1}")] if span.length else []
    last = [("Connection", "close")] if is_last else []
    request = h11.Request(
        method="GET",
        target=path,
        headers=[("Host", host), *wanted, ("Accept-Encoding", "identity"), *last, *headers],
    )
    return h11.Connection(h11.CLIENT).send(request) or b""


async def _read_head(wire: SourceConnection) -> tuple[h11.Response, bytes]:
    """Receive the response head; returns it with the first bytes of the body, as far as they came along.

    Raises SourceBroken for anything that is not a response head of bounded size, after a few interim ones.
    """
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))  # what the parser expects an answer to
    buffer = memoryview(bytearray(_RECEIVE_BYTES))
    interim = 0
    try:
        while not isinstance(event := parser.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(buffer[: await wire.receive(buffer)]))
            elif (interim := interim + 1) > _MOST_INTERIM:
                raise SourceBroken(f"more than {_MOST_INTERIM} interim responses")
    except h11.RemoteProtocolError as error:
        raise SourceBroken(f"not an HTTP response: {error}") from error
    return event, parser.trailing_data[0]


def _headers_of(response: h11.Response) -> dict[str, str]:
    """The beginning of each."""
    return {name.decode("ascii"): value.decode("latin-1")[:100] for name, value in response.headers}


def _check_response(status: int, headers: Mapping[str, str], *, span: Span, size: int) -> None:
    """Raise SourceBroken unless the body will be these bytes of content of this size, as they are."""
    _check_status(status, headers)
    if "transfer-encoding" in headers or headers.get("content-encoding", "identity") != "identity":
        raise SourceBroken("the source encoded the body")
    if status == HTTPStatus.PARTIAL_CONTENT:
        _check_equal("Content-Range", headers.get("content-range"), span.content_range(size))
    elif span != span.whole(size):
        raise SourceBroken("the source sends everything instead of the range")
    _check_equal("Content-Length", headers.get("content-length"), str(span.length))


def _allows_another(response: h11.Response) -> bool:
    """Whether the connection may be asked again after this response."""
    options = {
        option.strip().lower()
        for name, value in response.headers
        if name == b"connection"
        for option in value.split(b",")
    }
    return response.http_version == b"1.1" and b"close" not in options


def _check_status(status: int, headers: Mapping[str, str]) -> None:
    if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = headers.get("retry-after", "")
        raise SourceBusy("the source is busy", retry_after=float(seconds) if _SECONDS.fullmatch(seconds) else None)
    raise SourceRefused(f"the source answered {status}", status=status)


def _check_equal(name: str, got: str | None, expected: str) -> None:
    if got != expected:
        raise SourceBroken(f"{name} is {got!r} instead of {expected!r}")
