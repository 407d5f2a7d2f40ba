"""An upstream's word that anyone may pull something, and for how long it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_HOUR: Final = 3600.0
# A user that makes a repository private expects that to be so everywhere within a day; asking more often than pulls
# happen would tell nothing more.
_HOLDS: Final = 24 * _HOUR
# Asked again in the background when three quarters are over, so that a daily user of a repository never waits, and an
# outage begins with an answer that still holds.
_IS_RENEWED: Final = 18 * _HOUR
# An upstream that cannot be reached has its last word kept for a week: long outages are over by then. A cluster that is
# cut off for longer is air-gapped, and its operator says so (mode `open`).
_IS_KEPT: Final = 7 * 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Word:
    """When the upstream gave its answer, in seconds of a clock.

    `is_ours`: the upstream gave it to a request with something that only this node has (a header or a client
    certificate of its hosts.toml), so the node does not tell it to others.
    """

    said_at: float
    is_ours: bool = False

    def holds(self, now: float) -> bool:
        """Whether it is as good as asking."""
        return now - self.said_at < _HOLDS

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask again."""
        return now - self.said_at >= _IS_RENEWED

    def is_kept(self, now: float) -> bool:
        """Whether it may be relied on while the upstream says nothing."""
        return now - self.said_at < _IS_KEPT
