"""Ending a body that cannot be finished so that its receiver keeps what it got."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio import BaseProtocol, Transport

# How long the receiver may take to read the bytes on their way and to close. It usually closes a round trip after this
# end's FIN. When it does not, the kernel keeps the sent bytes, and goes on delivering them after the agent has closed.
_DRAIN_SECONDS: Final = 5.0


async def end_short(transport: Transport | None, *, drain_seconds: float = _DRAIN_SECONDS) -> None:
    """End the connection after what was sent, with FIN and never RST, and wait until the receiver has closed too.

    Linux sends RST when a socket is closed with input unread, or gets input after it was closed, and a RST destroys
    what the receiver has not read yet. Tried with aiohttp and a client that reads slowly, 1 MB after a short body's
    head: transport.close(), force_close() and a handler that raises all left it with 128 KB and ECONNRESET, when it
    had sent more requests than the server read, and when it sent a single one after the server had closed. Ended
    here it got the whole MB and an end. So: shut down our direction only, throw away what still comes in, and
    close when the receiver has closed. containerd then asks for the rest; a RST would have failed its pull.

    Nothing can be written to the connection afterwards, so no later response can be taken for the missing bytes.
    An encrypted connection is ended in the same way, with a goodbye (close_notify) before FIN (transfer.tls.transport).
    """
    if transport is None or transport.is_closing():
        return
    if not transport.can_write_eof():
        transport.close()
        return
    server = transport.get_protocol()
    drain = _Drain(server)
    transport.set_protocol(drain)
    try:
        transport.write_eof()
        transport.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await drain.ended
    finally:
        transport.set_protocol(server)
        transport.close()


class _Drain(asyncio.Protocol):
    """Stands in for the server's protocol: throws input away, and waits for its end."""

    def __init__(self, server: BaseProtocol) -> None:
        self._server = server
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        pass

    def eof_received(self) -> bool:
        self._end()
        return True  # closing is left to `end_short`, after the server's protocol is back

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._server.connection_lost(exc)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
