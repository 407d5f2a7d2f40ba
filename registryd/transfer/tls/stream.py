"""TLS over a non-blocking socket, in few calls for each MiB.

OpenSSL works on memory here, and the socket is read and written in large pieces. On the socket itself it makes two
calls of the kernel for each record of 16 KiB that comes, and one for each that goes (docs/benchmarks.md).
"""

from __future__ import annotations

import ssl
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from registryd.transfer.readiness import wait_readable, wait_writable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# The bytes that one system call takes from the socket for a body: 512 KiB cost 0.05 to 0.1 s/GiB more, 2 MiB no less.
_TAKEN_BYTES: Final = 1024 * 1024
# The same for readers with room for less than a few records: heads, and messages of a peer that is being sent a body.
_TAKEN_AT_LEAST_BYTES: Final = 16 * 1024
_FEW_RECORDS_BYTES: Final = 64 * 1024
# The bytes that pass through OpenSSL's memory at a time. That memory never shrinks, and 64 to 256 KiB are equally
# quick. This is the memory that an idle connection costs.
_PIECE_BYTES: Final = 64 * 1024
# The records that one call decrypts: of full records 32 fill the largest room, and of records of one byte, which a
# hostile member may send, so many take some milliseconds. 16 KiB of the wire, all that is taken for a small room, never
# hold so many.
_RECORDS_AT_ONCE: Final = 1024
# The bytes on the wire in which there has to be one that is meant for the reader. The largest record has a quarter of
# that, and the two tickets of a session have 500 bytes. So no member can make OpenSSL work on nothing else.
_BARREN_BYTES: Final = 64 * 1024
# Pieces that one call of the kernel sends.
_PIECES_AT_ONCE: Final = 16


class TlsStream:
    """One end of an encrypted connection. Owns the socket.

    No method waits, unless it says so: a call that cannot go on raises BlockingIOError, and `is_unsent` says whether
    the socket has to become writable or readable. A fault of the connection is an OSError (`ssl.SSLError` is one). The
    stream is for one thread at a time.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, host: str | None = None
    ) -> None:
        self.socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=host
        )
        # `read` returns a count when it is given a buffer, which typeshed does not know.
        self._decrypt: Callable[[int, memoryview], int] = cast("Any", self.ssl_object).read
        self._taken = memoryview(b"")
        self._buffer: memoryview | None = None
        self._barren = 0
        """Bytes that OpenSSL was given since the last one that came out of it."""
        self._unsent: deque[bytes | memoryview] = deque()

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        """Close the socket, and give back what has not been received; idempotent."""
        self.socket.close()
        self._taken, self._buffer = memoryview(b""), None

    # ---------------------------------------------------------------- beginning and end

    def shake_hands_now(self) -> None:
        """Go on with the handshake; returns when it is over."""
        while True:
            self.flush()
            try:
                self.ssl_object.do_handshake()
            except ssl.SSLWantReadError:
                self._collect()
                self.flush()
                self._take(_TAKEN_AT_LEAST_BYTES)
            except ssl.SSLError:
                self._collect()
                with suppress(OSError):
                    self.flush()  # the other side is told why
                raise
            else:
                self._barren = 0
                self._collect()
                self.flush()
                return

    def say_goodbye(self) -> None:
        """Append the TLS goodbye, after which no more can be sent; it still has to be flushed."""
        with suppress(ssl.SSLError):  # not that the other side has not said it yet
            self.ssl_object.unwrap()
        self._collect()

    # ---------------------------------------------------------------- receiving

    def receive_now(self, buffer: memoryview) -> int:
        """Decrypt what has arrived, as far as it fits; 0 is the end.

        It takes from the socket only while there is nothing. Many small records take several calls.
        """
        filled = records = 0
        while filled < len(buffer) and records < _RECORDS_AT_ONCE:
            try:
                count = self._decrypt(len(buffer) - filled, buffer[filled:])
            except ssl.SSLWantReadError:
                self._require_content()
                if not self._feed():
                    if filled:
                        break
                    self._take(len(buffer))
            except ssl.SSLEOFError:  # without a goodbye; lengths are known by other means
                break
            except ssl.SSLError:
                if not filled:  # otherwise it comes again, when the bytes before it have been sent
                    raise
                break
            else:
                self._barren = 0
                if not count:
                    break
                filled, records = filled + count, records + 1
        self._answer()
        return filled

    def discard_now(self, buffer: memoryview) -> int:
        """Throw away what has arrived, once we have said goodbye; 0 is the end."""
        return self.socket.recv_into(buffer)

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was taken from the socket has been received."""
        return not (self._taken or self._incoming.pending or self.ssl_object.pending())

    def rest(self) -> None:
        """Give back the memory that only a body needs."""
        if not self._taken:
            self._taken, self._buffer = memoryview(b""), None

    def _require_content(self) -> None:
        if self._barren >= _BARREN_BYTES:
            raise ConnectionAbortedError(f"{self._barren} bytes of TLS have nothing in them")

    def _take(self, room: int) -> None:
        """Take from the socket, and feed OpenSSL with it or with its beginning."""
        if room <= _FEW_RECORDS_BYTES:
            self._taken = memoryview(self.socket.recv(_TAKEN_AT_LEAST_BYTES))
        else:
            self._buffer = self._buffer or memoryview(bytearray(_TAKEN_BYTES))
            self._taken = self._buffer[: self.socket.recv_into(self._buffer)]
        if not self._feed():
            self._incoming.write_eof()

    def _feed(self) -> bool:
        """Give OpenSSL the next piece of what was taken, if there is one."""
        if not self._taken:
            return False
        self._barren += self._incoming.write(self._taken[:_PIECE_BYTES])
        self._taken = self._taken[_PIECE_BYTES:]
        return True

    def _answer(self) -> None:
        """Send what OpenSSL itself has to say, such as that keys change."""
        if self._outgoing.pending:
            self._collect()
            with suppress(OSError):  # whoever sends or receives next is told
                self.flush()

    # ---------------------------------------------------------------- sending

    @property
    def unsent_bytes(self) -> int:
        return sum(map(len, self._unsent))

    @property
    def is_unsent(self) -> bool:
        """Whether there is something that the socket had no room for."""
        return bool(self._unsent)

    def seal(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt these bytes; they have to be flushed."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.ssl_object.write(rest[:_PIECE_BYTES]) :]
            self._collect()

    def flush(self) -> None:
        """Send what is sealed; raises BlockingIOError when the socket does not take all of it."""
        while self._unsent:
            sent = self.socket.sendmsg(list(islice(self._unsent, _PIECES_AT_ONCE)))
            while self._unsent and sent >= len(self._unsent[0]):
                sent -= len(self._unsent.popleft())
            if sent:
                self._unsent[0] = memoryview(self._unsent[0])[sent:]

    def _collect(self) -> None:
        if self._outgoing.pending:
            self._unsent.append(self._outgoing.read())


async def until_done(stream: TlsStream, step: Callable[[], None]) -> None:
    """Go on with the handshake or with flushing until it is done; raises OSError. The caller sets a time limit."""
    while True:
        try:
            return step()
        except BlockingIOError:
            await (wait_writable if stream.is_unsent else wait_readable)(stream.fileno())
