"""Two ends of an encrypted connection over real TCP, with a certificate of the server's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registryd.transfer.tls.stream import TlsStream
from tests.fakes.certificates import server_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUFFER_BYTES = 64 * 1024


@contextmanager
def tls_pair(folder: Path, *, tickets: int = 2) -> Iterator[tuple[TlsStream, TlsStream]]:
    """The server's end and the client's, hands shaken. Sockets hold little, so that senders meet full ones early.

    The server gives so many session tickets, of some 250 bytes.
    """
    server_context = server_tls(folder, "127.0.0.1")
    server_context.num_tickets = tickets
    client_context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        for end in (near, far):
            end.settimeout(0)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        server = TlsStream(far, server_context, server_side=True)
        client = TlsStream(near, client_context, server_side=False, host="127.0.0.1")
        _shake_hands(server, client)
        yield server, client


def _shake_hands(*ends: TlsStream) -> None:
    left = list(ends)
    while left:
        end = left.pop(0)
        try:
            end.shake_hands_now()
        except BlockingIOError:
            left.append(end)


async def receive(stream: TlsStream, count: int, *, at_a_time: int = 256 * 1024) -> bytes:
    """So many bytes; fewer at the end."""
    data, buffer = bytearray(), memoryview(bytearray(at_a_time))
    while len(data) < count:
        try:
            taken = stream.receive_now(buffer[: count - len(data)])
        except BlockingIOError:
            await asyncio.sleep(0)
            continue
        if not taken:
            break
        data += buffer[:taken]
    return bytes(data)


async def flush(stream: TlsStream) -> None:
    """Until everything that is sealed has been sent."""
    while True:
        try:
            return stream.flush()
        except BlockingIOError:
            await asyncio.sleep(0)
