"""What kernel TLS would bring: one connection over loopback by registryd's TLS, by OpenSSL's, and by the kernel's.

    python -m benchmarks.kernel_tls [--mib 1024] [--rounds 5]

Processor seconds of each end for each GiB, by turns, medians, as a table in Markdown. `memory` is registryd's own
(`registryd.transfer.tls.stream`: OpenSSL works on memory). `socket` is an `ssl.SSLSocket`. `kernel` is one with
OP_ENABLE_KTLS, and `kernel, sendfile` sends the file without a copy. Whether the kernel really encrypts is asked of the
socket. Where it does not (Linux without CONFIG_TLS, OpenSSL built without it), these two are left out, with the reason.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import select
import socket
import ssl
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import Certificates, make_certificates
from benchmarks.contestants import write_blob
from registryd.transfer.tls.stream import TlsStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_MIB: Final = 1024**2
# As agents: bytes that one call sends, and that one call receives.
_SENT_BYTES: Final = 256 * 1024
_RECEIVED_BYTES: Final = _MIB
# Of Linux (include/uapi/linux/tcp.h, tls.h), and the option of OpenSSL, which Python names since 3.12.
_TCP_ULP: Final = 31
_SOL_TLS: Final = 282
_TLS_TX: Final = 1
_TLS_RX: Final = 2
_KEYS_OF_AES_256_GCM_BYTES: Final = 56
_OP_ENABLE_KTLS: Final = 1 << 3
_CONNECT_SECONDS: Final = 30.0

MEMORY: Final = "memory"
SOCKET: Final = "socket"
KERNEL: Final = "kernel"
SENDFILE: Final = "kernel, sendfile"


@dataclass(frozen=True, slots=True)
class End:
    """What one end of a connection took."""

    cpu_seconds: float
    seconds: float
    is_by_kernel: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    sender: End
    receiver: End


def why_not_by_kernel() -> str | None:
    """Why this kernel does no TLS; None: it does. Loads the module `tls` where there is one."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
        except OSError as error:
            return f"this kernel has no TLS (CONFIG_TLS): {error.strerror}"
    return None


def measure(way: str, certificates: Certificates, blob: Path) -> Transfer:
    """Send the file from one process to another."""
    context = multiprocessing.get_context("spawn")
    (own_of_sender, sender_pipe), (own_of_receiver, receiver_pipe) = context.Pipe(), context.Pipe()
    sender = context.Process(target=_send, args=(way, certificates, blob, sender_pipe))
    sender.start()
    sender_pipe.close()  # so that its end is told when it fails
    arguments = (way, certificates, blob.stat().st_size, own_of_sender.recv(), receiver_pipe)
    receiver = context.Process(target=_receive, args=arguments)
    receiver.start()
    receiver_pipe.close()
    try:
        return Transfer(own_of_sender.recv(), own_of_receiver.recv())
    except EOFError as error:
        raise SystemExit(f"{way}: an end failed, see above") from error
    finally:
        for process in (sender, receiver):
            process.terminate()
            process.join()


# ---------------------------------------------------------------- one end


def _send(way: str, certificates: Certificates, blob: Path, pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_CONNECT_SECONDS)
        pipe.send(server.getsockname()[1])
        sock, _ = server.accept()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    _set_up(context, way)
    with blob.open("rb") as file:
        if way == MEMORY:
            stream = TlsStream(_unblocked(sock), context, server_side=True)
            _until_done(stream, stream.shake_hands_now)
            pipe.send(_measured(lambda: _send_by_memory(stream, file.fileno()), sock=None))
            stream.close()
        else:
            with context.wrap_socket(sock, server_side=True) as by_openssl:
                send = _send_file if way == SENDFILE else _send_by_socket
                pipe.send(_measured(lambda: send(by_openssl, file.fileno()), sock=by_openssl, direction=_TLS_TX))


def _receive(way: str, certificates: Certificates, size: int, port: int, pipe: Connection) -> None:
    context = certificates.client_context()
    _set_up(context, way)
    sock = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS)
    if way == MEMORY:
        stream = TlsStream(_unblocked(sock), context, server_side=False, host="127.0.0.1")
        _until_done(stream, stream.shake_hands_now)
        pipe.send(_measured(lambda: _receive_by_memory(stream, size), sock=None))
        stream.close()
    else:
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as by_openssl:
            receive = lambda: _receive_by_socket(by_openssl, size)  # noqa: E731 - as at the other end
            pipe.send(_measured(receive, sock=by_openssl, direction=_TLS_RX))


def _set_up(context: ssl.SSLContext, way: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if way in {KERNEL, SENDFILE}:
        context.options |= _OP_ENABLE_KTLS


def _measured(move: Callable[[], None], *, sock: ssl.SSLSocket | None, direction: int = _TLS_TX) -> End:
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    move()
    after, seconds = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - begun
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return End(cpu, seconds, is_by_kernel=sock is not None and _is_by_kernel(sock, direction))


def _is_by_kernel(sock: ssl.SSLSocket, direction: int) -> bool:
    """Whether the kernel has the keys of this direction."""
    with suppress(OSError):
        return bool(sock.getsockopt(_SOL_TLS, direction, _KEYS_OF_AES_256_GCM_BYTES))
    return False


# ---------------------------------------------------------------- the ways


def _unblocked(sock: socket.socket) -> socket.socket:
    sock.settimeout(0)
    return sock


def _until_done(stream: TlsStream, step: Callable[[], None]) -> None:
    while True:
        try:
            return step()
        except BlockingIOError:
            _wait(stream)


def _wait(stream: TlsStream) -> None:
    waits_to_send = [stream] if stream.is_unsent else []
    select.select([] if waits_to_send else [stream], waits_to_send, [], _CONNECT_SECONDS)


def _send_by_memory(stream: TlsStream, fd: int) -> None:
    while data := os.read(fd, _SENT_BYTES):
        stream.seal(data)
        _until_done(stream, stream.flush)


def _receive_by_memory(stream: TlsStream, size: int) -> None:
    buffer, left = memoryview(bytearray(_RECEIVED_BYTES)), size
    while left:
        try:
            count = stream.receive_now(buffer)
        except BlockingIOError:
            _wait(stream)
            continue
        if not count:
            raise EOFError(f"{left} bytes are missing")
        left -= count


def _send_by_socket(sock: ssl.SSLSocket, fd: int) -> None:
    while data := os.read(fd, _SENT_BYTES):
        sock.sendall(data)


def _send_file(sock: ssl.SSLSocket, fd: int) -> None:
    if not _is_by_kernel(sock, _TLS_TX):
        raise ConnectionError("the kernel has no keys: the file would be sent unencrypted")
    sock.settimeout(None)
    while os.sendfile(sock.fileno(), fd, None, _SENT_BYTES):
        pass


def _receive_by_socket(sock: ssl.SSLSocket, size: int) -> None:
    buffer, left = memoryview(bytearray(_RECEIVED_BYTES)), size
    while left:
        count = sock.recv_into(buffer)
        if not count:
            raise EOFError(f"{left} bytes are missing")
        left -= count


# ---------------------------------------------------------------- the table


def _row(way: str, transfers: list[Transfer], gib: float) -> str:
    senders, receivers = [each.sender for each in transfers], [each.receiver for each in transfers]
    cpu = [statistics.median(end.cpu_seconds for end in ends) / gib for ends in (senders, receivers)]
    speed = gib * 1024**3 / statistics.median(end.seconds for end in receivers) / 1e6
    by_kernel = [
        name for name, ends in (("sending", senders), ("receiving", receivers)) if all(e.is_by_kernel for e in ends)
    ]
    cells = [way, f"{cpu[0]:.3f}", f"{cpu[1]:.3f}", f"{speed:.0f}", " and ".join(by_kernel) or "nothing"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5, help="transfers of each way, of which the medians are taken")
    options = parser.parse_args()
    ways = [MEMORY, SOCKET]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates, blob = make_certificates(folder), folder / write_blob(folder, options.mib * _MIB)
        reason = why_not_by_kernel()
        if reason is None:
            small = folder / write_blob(folder, _MIB)
            if measure(KERNEL, certificates, small).sender.is_by_kernel:
                ways += [KERNEL, SENDFILE]
            else:
                reason = f"{ssl.OPENSSL_VERSION} leaves TLS to no kernel (built without it, or not for this cipher)"
        found: dict[str, list[Transfer]] = {way: [] for way in ways}
        for _ in range(options.rounds + 1):
            for way in ways:
                found[way].append(measure(way, certificates, blob))
    print("| way | sender, s/GiB | receiver, s/GiB | MB/s | by the kernel |\n| --- | --- | --- | --- | --- |")
    for way in ways:
        print(_row(way, found[way][1:], options.mib / 1024))
    if reason is not None:
        print(f"\n{KERNEL!r} and {SENDFILE!r} are not measured: {reason}.")


if __name__ == "__main__":
    main()
