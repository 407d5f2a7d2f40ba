"""Request and response heads of a fetch, in HTTP/1.1, and whether a response brings exactly what was asked for."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from registryd.transfer.errors import SourceBroken, SourceBusy, SourceRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.oci.ranges import Span
    from registryd.transfer.http.connection import SourceConnection

# A peer's head has a dozen short lines; h11's own default for servers is 16 KiB.
_HEAD_BYTES: Final = 16 * 1024
# Enough for the head and a config or a manifest in one call.
_RECEIVE_BYTES: Final = 64 * 1024
# Retry-After also allows a date; a peer of ours writes seconds.
_SECONDS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


def write_request(host: str, path: str, *, span: Span, is_last: bool, headers: Sequence[tuple[str, str]]) -> bytes:
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


async def read_head(wire: SourceConnection) -> tuple[h11.Response, bytes]:
    """Receive the response head; returns it with the first bytes of the body, as far as they came along.

    Raises SourceBroken for anything that is not a response head of bounded size.
    """
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))  # what the parser expects an answer to
    buffer = memoryview(bytearray(_RECEIVE_BYTES))
    try:
        while not isinstance(event := parser.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(buffer[: await wire.receive(buffer)]))
    except h11.RemoteProtocolError as error:
        raise SourceBroken(f"not an HTTP response: {error}") from error
    return event, parser.trailing_data[0]


def check_response(response: h11.Response, *, span: Span, size: int) -> None:
    """Raise SourceBroken unless the body will be these bytes of content of this size, as they are."""
    headers = {name.decode("ascii"): value.decode("latin-1")[:100] for name, value in response.headers}
    _check_status(response.status_code, headers)
    if "transfer-encoding" in headers or headers.get("content-encoding", "identity") != "identity":
        raise SourceBroken("the source encoded the body")
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        _check_equal("Content-Range", headers.get("content-range"), span.content_range(size))
    elif span != span.whole(size):
        raise SourceBroken("the source sends everything instead of the range")
    _check_equal("Content-Length", headers.get("content-length"), str(span.length))


def allows_another(response: h11.Response) -> bool:
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
