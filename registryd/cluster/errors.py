"""Why a peer did not help: the peer is out of order, or the peer is well and says no.

All these errors mean "try the next". Only PeerFailed says that the peer itself is out of order.
"""

from __future__ import annotations

from typing import ClassVar

from registryd.content.source import ContentUnavailable
from registryd.observability.metrics import PeerTrouble


class PeerFailed(ContentUnavailable):
    """The peer is not to be asked for a while: it does not answer, or not in a way that makes sense."""

    usual: ClassVar = PeerTrouble.HUNG_UP

    def __init__(self, text: str = "", trouble: PeerTrouble | None = None) -> None:
        super().__init__(text)
        self.trouble: PeerTrouble = trouble or self.usual


class PeerUnreachable(PeerFailed):
    """The peer cannot be reached, or its connection broke."""


class PeerSilent(PeerFailed):
    """No answer in time."""

    usual = PeerTrouble.NO_ANSWER


class PeerGarbled(PeerFailed):
    """An answer that is not valid."""

    usual = PeerTrouble.GARBLED


class PeerDeclined(ContentUnavailable):
    """The peer is well and cannot or does not want to give this now."""


class PeerOutdated(PeerDeclined):
    """The peer is well and of a version that does not know this question."""


class ContentCorrupt(ContentUnavailable):
    """The bytes from the peer do not have the digest."""
