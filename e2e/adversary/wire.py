"""Connections to an agent's peer ports that no well-behaved client makes: a member's, byte by byte."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from registryd.oci.digest import Digest

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _DATA, _SETTINGS = 0x1, 0x0, 0x4
_END_STREAM, _END_HEADERS = 0x1, 0x4
# Small, so that what is not read fills the sender's buffers soon.
_RECEIVE_BYTES: Final = 4096


@dataclass(frozen=True)
class Target:
    """The agent, what it has, and the secret by which one is its cluster's member."""

    host: str
    secret_file: Path
    digest: Digest
    """Of a layer of some MiB."""
    repository: str
    innocent: str
    """The address of another member."""
    own: str
    """The adversary's address."""
    peers_port: int = 3173
    content_port: int = 3174

    def credentials(self) -> MemberCredentials:
        return MemberCredentials(MintedMaterial(self.secret_file, node="adversary", clock=lambda: datetime.now(UTC)))


async def connect(target: Target, port: int, *, deaf: bool = False) -> socket.socket:
    """A TCP connection; one that is `deaf` has hardly any room for what it is sent."""
    sock = socket.socket()
    sock.settimeout(0)
    if deaf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (target.host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def shake_hands(
    sock: socket.socket, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A member's handshake. Closing the writer closes the socket."""
    return await asyncio.open_connection(sock=sock, ssl=context, server_hostname="peer", limit=_RECEIVE_BYTES)


def http2_context(credentials: MemberCredentials) -> ssl.SSLContext:
    """For gRPC's port."""
    context = credentials.client_context()
    context.set_alpn_protocols(["h2"])
    return context


def preface() -> bytes:
    return _PREFACE + _frame(_SETTINGS, 0, 0, b"")


def call_frames(stream: int, method: str, message: bytes, *, is_whole: bool = True) -> bytes:
    """One gRPC call, of an odd stream number; `method` is the path. Without its message if it is not whole."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "peer",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
    data = b"\0" + len(message).to_bytes(4, "big") + message
    head = _frame(_HEADERS, _END_HEADERS, stream, block)
    if not is_whole:
        return head
    return head + _frame(_DATA, _END_STREAM, stream, data)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that is in no table and in no code (RFC 7541, 6.2.2); both are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
