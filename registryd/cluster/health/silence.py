"""Telling a source that is gone without a word, or stuck, from one that is held up by its own source.

When an agent, a containerd or the origin stands still, nothing comes to any node below it. If all of them broke off at
the same moment, index nodes could not tell which of them has failed. So each node asks its own source, which answers at
once if it is there, and says whether it waits itself. Only the nodes right below the one that is gone or stuck look for
another source. To those further down, bytes come again on the connections that they have.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from registryd.cluster.errors import PeerDeclined, PeerFailed
from registryd.cluster.members.offer import offer_of
from registryd.content.source import ContentUnavailable
from registryd.transfer.monitoring.body import Check
from registryd.transfer.monitoring.thresholds import (
    GONE_LONGEST_LOOK_SECONDS,
    GONE_LOOK_SECONDS,
    GONE_SECONDS,
    GROWING_STALL_TIMEOUT,
    HELD_UP_BYTES,
    HELD_UP_LONGEST_SECONDS,
    HELD_UP_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.transfer.monitoring.meter import Reading

    HasSource = Callable[[Sought, Address], Awaitable[bool]]


class _SilenceCheck(Check):
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

    async def look(self, now: Reading) -> str | None:
        before, self._latest = self._latest, now
        if now.sent > before.sent or not now.is_starved(before):
            self._silent_since, self._reason, self._pause = now.at, None, GONE_LOOK_SECONDS
        if self._reason or now.at - self._silent_since < self._seconds:
            return self._reason
        # Told at the next look, at once: something may have come while the source was asked.
        self._reason = await self._judge(f"it gave nothing for {self._seconds:g} s")
        self._pause = min(2 * self._pause, GONE_LONGEST_LOOK_SECONDS)
        return None

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


async def everybody_has_a_source(_sought: Sought, _address: Address) -> bool:
    """Where no index node knows who gives content to whom."""
    return True


class StuckCheck(_SilenceCheck):
    """Of a source of growing content: it does not say that it is held up itself.

    A source that says so is believed for HELD_UP_SECONDS in all, and again after it has given `step_bytes`, for which
    it has HELD_UP_LONGEST_SECONDS. One that cannot say twice in a row is not: its store may stand still. Nor is one
    that gets it from no node, as far as others know, for GROWING_STALL_TIMEOUT: it gets it from the origin, or lies.
    """

    def __init__(
        self,
        source: Member,
        sought: Sought,
        *,
        has_source: HasSource,
        on_excused: Callable[[float], None] = lambda _seconds: None,
        step_bytes: int = HELD_UP_BYTES,
    ) -> None:
        """`has_source` says whether a node gives it the content; `on_excused` is told of seconds that are excused."""
        super().__init__(GROWING_STALL_TIMEOUT)
        self.excused = 0.0
        """The seconds in which the source gave nothing, and said that it is held up."""
        self._source = source
        self._sought = sought
        self._has_source = has_source
        self._on_excused = on_excused
        self._step_bytes = step_bytes
        self._alone_since: float | None = None
        self._excused_before = 0.0  # the present silence
        self._believed_from = 0.0  # of what is excused
        self._was_silent = False

    def begin(self, begun: Reading) -> None:
        super().begin(begun)
        self._believed_at = begun

    @property
    def is_undecided(self) -> bool:
        """Whether nothing comes now, for so short a time that the source was not asked."""
        return GONE_SECONDS <= self._latest.at - self._silent_since < GROWING_STALL_TIMEOUT

    async def look(self, now: Reading) -> str | None:
        if now.sent > self._latest.sent:
            self._excused_before, self._was_silent, self._alone_since = self.excused, False, None
        if now.sent - self._believed_at.sent >= self._step_bytes:
            self._believed_at, self._believed_from = now, self.excused
        was_excused = self.excused > self._believed_from
        if was_excused and now.starved_since(self._believed_at) >= HELD_UP_LONGEST_SECONDS:
            return f"it gave next to nothing for {HELD_UP_LONGEST_SECONDS:.0f} s"
        return await super().look(now)

    async def _judge(self, silence: str) -> str | None:
        excused = self._excused_before + self._latest.at - self._silent_since
        if excused - self._believed_from >= HELD_UP_SECONDS:
            return f"it gave next to nothing for {HELD_UP_SECONDS:g} s"
        try:
            offer = offer_of(self._source, self._sought, await self._source.find(self._sought))
        except ContentUnavailable as reason:
            # It is well and declines when its store takes long, or many ask: that may be over in a moment.
            was_silent, self._was_silent = self._was_silent, isinstance(reason, PeerFailed | PeerDeclined)
            return None if self._was_silent and not was_silent else f"{silence}: {reason}"
        self._was_silent = False
        if not (offer.content.is_growing and offer.content.is_held_up):
            return f"{silence}, and is not held up by another node"
        if await self._is_alone():
            return f"{silence}, and no node gives it anything"
        self._on_excused(excused - self.excused)
        self.excused = excused
        return None

    async def _is_alone(self) -> bool:
        """Whether nobody has given it the content for so long that it ought to have some from elsewhere."""
        if await self._has_source(self._sought, self._source.address):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = self._latest.at
        return self._alone_since is not None and self._latest.at - self._alone_since >= GROWING_STALL_TIMEOUT
