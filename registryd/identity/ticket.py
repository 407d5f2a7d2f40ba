"""Tickets: the right to fetch bytes over plain TCP, for a peer that has just proved over mTLS that it is a member.

A ticket is good for one purpose (a digest, and the name for which the peer wants it), from one address, at the node
that issued it, for a short time. Within that time the same requester may use it again, which resuming at a Range needs.
An attacker that reads the ticket from the wire would have to take over the requester's address. A ticket protects who
may fetch. It does not hide the bytes.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.identity.requester import Requester

# In a header and not in the URL, which ends up in logs.
TICKET_HEADER: Final = "Registryd-Ticket"

# A fetch begins within a find's and a connection's time-out, seconds; a queue at a busy source may add some. What has
# begun is not checked again, and what has to begin later asks again, which costs a round trip of a millisecond.
_LIFE_SECONDS: Final = 60
_EXPIRY_BYTES: Final = 4
# 160 bits of the MAC, and 24 bytes in all: Base64 without padding, 32 characters.
_MAC_BYTES: Final = 20
_LENGTH: Final = 32


class Tickets:
    """Issues and checks this node's tickets.

    Only the issuing node has to check a ticket. So the key is random and never leaves the process, and no member has
    it: not even a malicious member can make tickets for other nodes. A restarted node refuses old tickets, and the peer
    asks again.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """The clock gives seconds and is never set back: nobody else has to agree with it."""
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def issue(self, purpose: str, requester: Requester) -> str:
        """A ticket of 32 characters, safe in URLs and headers."""
        expiry = (int(self._clock()) + _LIFE_SECONDS).to_bytes(_EXPIRY_BYTES)
        return urlsafe_b64encode(expiry + self._mac(expiry, purpose, requester)).decode("ascii")

    def admits(self, ticket: str | None, purpose: str, requester: Requester) -> bool:
        """Whether this node issued the ticket for this purpose to this requester, less than a minute ago."""
        parts = _parse(ticket)
        if parts is None:
            return False
        expiry, mac = parts
        genuine = hmac.compare_digest(mac, self._mac(expiry, purpose, requester))
        return genuine and self._clock() < int.from_bytes(expiry)

    def _mac(self, expiry: bytes, purpose: str, requester: Requester) -> bytes:
        # An address contains no line feed, so no two contents share a text.
        content = expiry + f"{requester.address}\n{purpose}".encode()
        return hmac.digest(self._key, content, sha256)[:_MAC_BYTES]


def _parse(ticket: str | None) -> tuple[bytes, bytes] | None:
    if ticket is None or len(ticket) != _LENGTH or not ticket.isascii():
        return None
    try:
        data = urlsafe_b64decode(ticket)
    except ValueError:
        return None
    # A decoder that skips what it does not know would accept other spellings of the same bytes.
    if urlsafe_b64encode(data).decode("ascii") != ticket:
        return None
    return data[:_EXPIRY_BYTES], data[_EXPIRY_BYTES:]
