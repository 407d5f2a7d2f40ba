"""A handshake of this node with itself, in memory: it shows what peers would refuse, where it can be repaired."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from registryd.identity.tls import MemberClientContext

# Each side speaks twice in a full handshake of TLS 1.3; nothing moves any more after a third time.
_ROUNDS: Final = 3


def shake_hands(client: MemberClientContext, server: ssl.SSLContext) -> datetime:
    """Check chain, name, purposes, key and time in both directions; returns when the server's certificate expires.

    Raises ssl.SSLError, saying what the verifying side did not like.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = asking.getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(cast("str", certificate["notAfter"])), UTC)
