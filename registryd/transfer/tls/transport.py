"""An asyncio transport over a TlsStream."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from registryd.transfer.tls.stream import TlsStream

# Room for all that one call takes from the socket, and for the record before it that was not complete.
_RECEIVE_BYTES: Final = 64 * 1024
# The bytes that may wait to be sent before the protocol is told to pause, and the bytes at which it may go on;
# asyncio's own limits.
_HIGH_BYTES: Final = 64 * 1024
_LOW_BYTES: Final = 16 * 1024
# While more than that waits, the transport does not read from the peer, whose demands for new keys could fill the
# memory.
_MOST_BYTES: Final = 1024 * 1024
# How long a connection that is to be closed may take to accept what is left; asyncio's own limit for TLS.
_CLOSE_SECONDS: Final = 30.0
# Whose connection it is when it has been lost.
_NOBODY: Final = asyncio.Protocol()


class TlsTransport(asyncio.Transport):
    """An accepted connection whose handshake is over. Owns the stream.

    To a protocol it is what asyncio's own TLS is, with two differences: `write_eof` says goodbye and sends FIN while
    the other side may still send (which is then thrown away), and `close` does not wait for the other side's goodbye.
    """

    def __init__(self, stream: TlsStream, protocol: asyncio.Protocol) -> None:
        super().__init__(_extra_info(stream))
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._protocol: Any = protocol
        self._is_reading = True
        self._is_pausing_writer = False
        self._has_said_goodbye = self._is_shut = False
        self._is_closing = self._is_lost = self._is_closed = False
        self._fault: OSError | None = None
        self._watches_input = self._watches_room = False
        self._close_timer: asyncio.TimerHandle | None = None
        protocol.connection_made(self)
        # Bytes that came along with the end of the handshake do not make the socket readable again.
        self._loop.call_soon(self._receive)
        self._go_on()

    # ---------------------------------------------------------------- receiving

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False
        self._watch()

    def resume_reading(self) -> None:
        self._is_reading = True
        self._watch()

    def _receive(self) -> None:
        if not self.is_reading():
            return
        try:
            data = self._take()
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)
        else:
            self._pass_on(data)
        self._go_on()

    def _take(self) -> bytes | None:
        """The bytes that have arrived; empty at the end, None when the protocol is not to be told."""
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        if self._has_said_goodbye:
            return None if self._stream.discard_now(buffer) else b""
        return bytes(buffer[: self._stream.receive_now(buffer)])

    def _pass_on(self, data: bytes | None) -> None:
        if data:
            self._protocol.data_received(data)
        elif data is not None and self._protocol.eof_received():
            self._is_reading = False
        elif data is not None:
            self.close()

    # ---------------------------------------------------------------- sending

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not data or self._is_closing or self._has_said_goodbye:
            return
        try:
            self._stream.seal(data)
        except OSError as error:
            self._lose(error)
        self._go_on()

    def get_write_buffer_size(self) -> int:
        return self._stream.unsent_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return _LOW_BYTES, _HIGH_BYTES

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Send goodbye and FIN after what was written."""
        self._say_goodbye()
        self._go_on()

    def _say_goodbye(self) -> None:
        if not self._has_said_goodbye:
            self._has_said_goodbye = True
            self._stream.say_goodbye()

    # ---------------------------------------------------------------- the end

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Close when what was written has been sent."""
        if not self._is_closing:
            self._is_closing = True
            self._close_timer = self._loop.call_later(_CLOSE_SECONDS, self.abort)
            self._go_on()

    def abort(self) -> None:
        """Close at once."""
        self._lose(None)
        self._go_on()

    def _lose(self, fault: OSError | None) -> None:
        """Give up sending: the connection is lost."""
        self._is_closing = self._is_lost = True
        self._fault = self._fault or (fault and _without_frames(fault))

    def _close(self) -> None:
        self._is_closed = True
        if self._close_timer:
            self._close_timer.cancel()
        self._watch()
        self._loop.call_soon(self._say_closed)

    def _say_closed(self) -> None:
        try:
            self._protocol.connection_lost(self._fault)
        finally:
            self._stream.close()
            self._protocol = _NOBODY  # it has this transport

    # ---------------------------------------------------------------- what is next

    def _go_on(self) -> None:
        """Send what the socket takes, then close, or tell the protocol and wait."""
        if self._is_closed:
            return
        self._flush()
        if self._is_lost or (self._is_closing and not self._stream.is_unsent):
            self._close()
        else:
            self._hold_back()
            self._watch()

    def _flush(self) -> None:
        if self._is_lost:
            return
        if self._is_closing:
            self._say_goodbye()
        try:
            self._stream.flush()
            if self._has_said_goodbye and not self._is_shut:
                self._is_shut = True
                self._stream.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error)

    def _hold_back(self) -> None:
        unsent = self._stream.unsent_bytes
        if unsent > _HIGH_BYTES and not self._is_pausing_writer:
            self._is_pausing_writer = True
            self._protocol.pause_writing()
        elif unsent <= _LOW_BYTES and self._is_pausing_writer:
            self._is_pausing_writer = False
            self._protocol.resume_writing()

    def _watch(self) -> None:
        """Have the loop call when the socket is ready for what is next."""
        fd, loop = self._stream.fileno(), self._loop
        wanted = self.is_reading() and self._stream.unsent_bytes <= _MOST_BYTES
        if wanted != self._watches_input:
            self._watches_input = wanted
            loop.add_reader(fd, self._receive) if wanted else loop.remove_reader(fd)
        wanted = not self._is_closed and self._stream.is_unsent
        if wanted != self._watches_room:
            self._watches_room = wanted
            loop.add_writer(fd, self._go_on) if wanted else loop.remove_writer(fd)


def _without_frames(fault: OSError) -> OSError:
    """The fault without the frames that it came through, which have this transport and the 64 KiB that it read into.

    The transport has the fault. So all of it would stay until the garbage collector comes by: hundreds of connections
    that a hostile member had ended held 18 MiB for more than half a minute.
    """
    error: BaseException | None = fault
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error.__traceback__ = None
        error = error.__context__
    return fault


def _extra_info(stream: TlsStream) -> dict[str, Any]:
    return {
        "socket": stream.socket,
        "sockname": stream.socket.getsockname(),
        "peername": stream.socket.getpeername(),
        "sslcontext": stream.ssl_object.context,
        "ssl_object": stream.ssl_object,
        "peercert": stream.ssl_object.getpeercert(),
        "cipher": stream.ssl_object.cipher(),
    }
