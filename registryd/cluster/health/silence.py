"""Telling a source that is gone without a word from one that is held up by its own source.

When an agent stands still, nothing comes to any node below it, and all of them would break off at the same moment
(GROWING_STALL_TIMEOUT): index nodes could not tell which of them has failed. So each node asks its own source, which
answers at once if it is there. Only the nodes right below the one that is gone look for another source. To those
further down, bytes come again on the connections that they have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from registryd.transfer.monitoring.thresholds import GONE_LONGEST_LOOK_SECONDS, GONE_LOOK_SECONDS, GONE_SECONDS

if TYPE_CHECKING:
    from registryd.cluster.members.member import Member
    from registryd.transfer.monitoring.meter import Reading


class _SilenceCheck(ABC):
    """A Check of the body of a source that is still receiving: nothing comes for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = GONE_LOOK_SECONDS
        self._reason: str | None = None

    def begin(self, begun: Reading) -> None:
        self._latest = begun
        self._silent_since = begun.at

    def pause(self) -> float:
        return 0.0 if self._reason else self._pause

    async def look(self, now: Reading, *, left: int) -> str | None:  # noqa: ARG002 - it is gone, however little is left
        before, self._latest = self._latest, now
        if now.sent > before.sent or not now.is_starved(before):
            self._silent_since, self._reason, self._pause = now.at, None, GONE_LOOK_SECONDS
        if self._reason or now.at - self._silent_since < self._seconds:
            return self._reason
        # Told at the next look, at once: something may have come while the source was asked.
        self._reason = await self._judge(f"it gave nothing for {self._seconds:g} s")
        self._pause = min(2 * self._pause, GONE_LONGEST_LOOK_SECONDS)
        return None

    def end(self, ended: Reading) -> None:  # noqa: B027 - a part of Check, and the same for both
        """Do nothing: this check keeps nothing."""

    @abstractmethod
    async def _judge(self, silence: str) -> str | None:
        """Why the body is to be broken off: the silence, and what else; None: it goes on."""


class StillCheck(_SilenceCheck):
    """Of a source that nobody is above: whether or not it answers."""

    async def _judge(self, silence: str) -> str | None:
        return silence


class GoneCheck(_SilenceCheck):
    """Of any source: it does not answer, either. Silence is believed the second time: it may have much to do."""

    def __init__(self, source: Member) -> None:
        super().__init__(GONE_SECONDS)
        self._source = source

    async def _judge(self, silence: str) -> str | None:
        return None if await self._source.probe(again=True) else f"{silence}, and does not answer"
