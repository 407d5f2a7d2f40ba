"""Asking a source for bytes over HTTP/1.1, up to the point where it has shown that it gives them."""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SourceBroken
from registryd.transfer.http.codec import allows_another, check_response, read_head, write_request
from registryd.transfer.http.connection import connect
from registryd.transfer.http.relay import RelayBody

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ssl import SSLContext

    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.http.connection import SourceConnection
    from registryd.transfer.http.pool import ConnectionPool

# Silence in the middle of a body. TCP sends a lost segment again after 0.2, 0.6, 1.4 and 3 s: a link that lost four
# in a row is still waited for, a peer that vanished is not.
STALL_TIMEOUT: Final = 5.0


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
    headers: Sequence[tuple[str, str]] = (),
    kept: ConnectionPool | None = None,
) -> Body:
    """Ask a source for a span of content of `size` bytes; returns when its first byte is here (timeouts in seconds).

    Connecting and the TLS handshake may take `connect_timeout`, the first byte after that `first_byte_timeout`.
    A connection of `kept` is used if there is one, and brought back there with the body's last byte. If it turns out
    to have ended before an answer, which says nothing about the source, a new one is made.
    Raises SourceBroken with the reason: no connection, no answer in time, an answer that is not exactly these bytes;
    SourceBusy for 503, SourceRefused for other statuses.
    """
    question = _Question(
        write_request(_host(address), path, span=span, is_last=kept is None, headers=headers),
        span=span,
        size=size,
        first_byte_timeout=first_byte_timeout,
        stall_timeout=stall_timeout,
        keep=None if kept is None else kept.keep,
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
    keep: Callable[[SourceConnection], None] | None

    async def ask(self, wire: SourceConnection) -> Body:
        """The body, when its first byte is here; raises SourceBroken, or TimeoutError when it does not come."""
        try:
            async with asyncio.timeout(self.first_byte_timeout):
                await wire.send(self.request)
                response, early = await read_head(wire)
                check_response(response, span=self.span, size=self.size)
                early = early or await _first_bytes(wire, self.span)
        except BaseException:
            wire.close()
            raise
        keep = self.keep if allows_another(response) else None
        return RelayBody(wire, early, length=self.span.length, stall_timeout=self.stall_timeout, keep=keep)


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
