"""The connection to a source: a raw non-blocking socket, plain or TLS, from which bytes are taken by the kernel."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from registryd.aio.racing import AllFailed, first_success
from registryd.transfer.errors import SourceBroken, SourceCutOff
from registryd.transfer.http.link import PlainLink, TlsLink
from registryd.transfer.readiness import is_readable, wait_readable
from registryd.transfer.tls.stream import TlsStream, until_done

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ssl import SSLContext

    from registryd.transfer.http.link import Link

    _Found = tuple[int, int, int, str, tuple[Any, ...]]


# Seconds of silence, then between questions, and how many stay unanswered: a host that is gone is told from a source
# that has nothing to give for the moment after 5 s, and before a stalled one is left (fetch.STALL_TIMEOUT).
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))


# What the kernel says of a host that does not answer its questions, and of a link or a route that is away.
_NO_WAY: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})

# Each wake-up of a relay costs some 0.15 ms of processor time here, in the followers and in containerd, however little
# has come; from a link of 100 Mbit/s that was 20 KiB. So the relay waits until a lot has come, as far as the socket's
# buffer has room for some times that: otherwise the kernel would make the window smaller. The kernel wakes the relay in
# any case when the buffer is nearly full. The number is half of the step in which followers get bytes.
_LOT_BYTES: Final = 64 * 1024
_BUFFER_SHARE: Final = 4
# But no longer than this, for most bodies: what comes slowly is passed on as it comes.
LOT_SECONDS: Final = 0.05
# Of what is left of a body, so much may be in OpenSSL's memory already: a record that has not come completely.
_RECORD_BYTES: Final = 32 * 1024
# Seconds until the next address of a host is tried beside a silent one (RFC 8305, 5).
FAMILY_PAUSE: Final = 0.25


class SourceConnection:
    """A connected socket. Every failure of the connection raises SourceBroken."""

    def __init__(self, link: Link, address: tuple[str, int], ssl: SSLContext | None) -> None:
        self.address = address
        self.ssl = ssl
        self.made_at = asyncio.get_running_loop().time()
        self.is_answered = False
        """Whether a byte came after the latest request."""
        self._link = link
        self._wakes_at = 1
        self._waits_since: float | None = None

    @property
    def splice_fd(self) -> int | None:
        """The descriptor that the kernel can splice from; None when the bytes are encrypted."""
        return self._link.splice_fd

    def fileno(self) -> int:
        return self._link.socket.fileno()

    def is_quiet(self) -> bool:
        """Whether there is nothing to receive: no unrequested byte, no end, no error."""
        if not self._link.is_empty:
            return False
        self._wake_at(1)
        return not is_readable(self.fileno())

    def rest(self) -> None:
        """Give back the memory that only a body needs: there is none for the time being."""
        self._link.rest()

    async def send(self, data: bytes) -> None:
        """Send a request; raises SourceBroken."""
        self.is_answered = False
        with source_errors():
            await self._link.send(data)

    def receive_now(self, buffer: memoryview) -> int:
        """Take all that is there, as far as it fits; 0 is the end.

        Raises BlockingIOError when there is nothing yet, SourceBroken.
        """
        with source_errors():
            count = self._link.receive_now(buffer)
        self.is_answered |= count > 0
        self._waits_since = None
        return count

    async def receive(self, buffer: memoryview, *, stall_timeout: float | None = None) -> int:
        """Take some bytes, waiting for the first; 0 is the end. Raises SourceBroken."""
        while True:
            try:
                return self.receive_now(buffer)
            except BlockingIOError:
                await self.wait_readable(stall_timeout=stall_timeout)

    async def wait_lot(
        self, left: int, *, stall_timeout: float | None = None, lot_seconds: float = LOT_SECONDS
    ) -> None:
        """Wait until there is a lot to take, of a body of which so many bytes are left, but for no longer than that.

        Raises as `wait_readable` does.
        """
        lot = min(self._lot(), left - _RECORD_BYTES)
        self._begin_to_wait()
        if lot > 0 and await self._has_come(lot, lot_seconds):
            self._has_waited()
        else:
            await self.wait_readable(stall_timeout=stall_timeout)

    async def _has_come(self, lot: int, seconds: float) -> bool:
        """Whether so much has come, or the end, within that time."""
        self._wake_at(lot)
        try:
            await wait_readable(self.fileno(), seconds=seconds)
        except TimeoutError:
            return False
        return True

    def _lot(self) -> int:
        with source_errors():
            buffered = self._link.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return min(_LOT_BYTES, buffered // _BUFFER_SHARE)

    def _wake_at(self, count: int) -> None:
        """Let the socket be readable with so many bytes, or with the end or an error."""
        if self._wakes_at != count:
            with source_errors():
                self._link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._wakes_at = count

    async def wait_readable(self, *, stall_timeout: float | None = None) -> None:
        """Wait until there is something to take; raises SourceBroken after `stall_timeout` seconds of silence.

        What a TLS connection has to read need not be content: a source that sends nothing but tickets is silent.
        So the time runs from the first wait after something was received.
        """
        self._wake_at(1)
        waited = self._begin_to_wait()
        try:
            await wait_readable(
                self._link.socket.fileno(), seconds=None if stall_timeout is None else stall_timeout - waited
            )
        except TimeoutError as error:
            raise SourceBroken(f"no byte for {stall_timeout:g} s") from error
        self._has_waited()

    def _begin_to_wait(self) -> float:
        """For how many seconds it has been waited already."""
        now = asyncio.get_running_loop().time()
        if self._waits_since is None:
            self._waits_since = now
        return now - self._waits_since

    def _has_waited(self) -> None:
        if self._link.splice_fd is not None:  # what a plain socket has to read is content, or the end
            self._waits_since = None

    def close(self) -> None:
        """Close the connection, even if the source still sends; idempotent."""
        self._link.close()


@contextmanager
def source_errors(what_failed: str = "the connection broke") -> Iterator[None]:
    """Errors of a source's socket as SourceBroken or SourceCutOff, except BlockingIOError, which is no error."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        kind = SourceCutOff if error.errno in _NO_WAY else SourceBroken
        raise kind(f"{what_failed}: {error.strerror or error}") from error


# ---------------------------------------------------------------- connecting


async def connect(address: tuple[str, int], *, ssl: SSLContext | None, timeout: float) -> SourceConnection:
    """Connect to a source, and shake hands if it is to be TLS, within `timeout` seconds; raises SourceBroken."""
    try:
        async with asyncio.timeout(timeout):
            with source_errors("cannot connect"):
                sock = await _connect(address)
                link = PlainLink(sock) if ssl is None else TlsLink(await _encrypt(sock, ssl, address[0]))
                return SourceConnection(link, address, ssl)
    except TimeoutError as error:
        raise SourceBroken(f"no connection within {timeout:g} s") from error


async def _connect(address: tuple[str, int]) -> socket.socket:
    """Connect to the first of the host's addresses that accepts; the next is tried while one says nothing."""
    found = await _resolve(*address)
    if len(found) == 1:
        return await _connect_to(found[0])
    attempts = ((partial(_connect_to, each),) for each in _by_turns(found))
    try:
        return await first_success(attempts, expected=OSError, patience=FAMILY_PAUSE, discard=_close)
    except AllFailed as error:
        raise error.reasons[-1] if error.reasons else OSError("the name has no address") from None


async def _connect_to(found: _Found) -> socket.socket:
    family, kind, protocol, _, endpoint = found
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        _send_at_once(sock)
        _find_out_vanished(sock)
        await asyncio.get_running_loop().sock_connect(sock, endpoint)
    except BaseException:
        sock.close()
        raise
    return sock


def _by_turns(found: Sequence[_Found]) -> list[_Found]:
    """The system's order, with the two families by turns (RFC 8305, 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for pair in zip_longest(first, others) for each in pair if each is not None]


async def _close(sock: socket.socket) -> None:
    sock.close()


def _send_at_once(sock: socket.socket) -> None:
    """Switch Nagle's algorithm off.

    A request follows the end of a TLS handshake at once. Nagle's algorithm would keep the request back until the source
    acknowledges the handshake, and the source delays this acknowledgement by 40 ms. 2 MiB took 62 ms with Nagle's
    algorithm, and take 12 to 16 ms without (benchmarks.answering).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _find_out_vanished(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _resolve(host: str, port: int) -> Sequence[_Found]:
    try:  # an address needs no look-up and no thread
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _encrypt(sock: socket.socket, context: SSLContext, host: str) -> TlsStream:
    try:
        stream = TlsStream(sock, context, server_side=False, host=host)
        await until_done(stream, stream.shake_hands_now)
    except BaseException:
        sock.close()
        raise
    return stream
