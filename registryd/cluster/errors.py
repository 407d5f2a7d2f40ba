"""Why a peer did not help: it is out of order, or it is well and says no.

All of them mean "try the next"; only PeerFailed says something about the peer itself.
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
    """No connection, or one that broke."""


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
    """What the peer gave is not what the digest stands for."""
