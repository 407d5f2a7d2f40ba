"""Continuing a large body when its source breaks off: another source goes on at the same byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.bound import bounded
from registryd.content.asker import AskAgain
from registryd.content.source import ContentUnavailable
from registryd.transfer.errors import AllBroken, SourceBroken, SourcesExhausted
from registryd.transfer.monitoring.body import Check
from registryd.transfer.monitoring.thresholds import HELD_UP_SECONDS, MOST_LEFT, REOPEN_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.cluster.members.offer import Offer
    from registryd.content.source import OpenContent
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.monitoring.meter import Reading

    OpenOther = Callable[[Span, float], Awaitable[tuple[Offer, OpenContent]]]


class Arrival(Check):
    """A Check of all bodies of one transfer that breaks none of them off: it notes when bytes came last."""

    _LOOK_SECONDS: Final = 1.0

    def __init__(self) -> None:
        self._latest: Reading | None = None

    def begin(self, begun: Reading) -> None:
        self.end(begun)  # another body of the same transfer does not begin anew

    def pause(self) -> float:
        return self._LOOK_SECONDS

    async def look(self, now: Reading) -> str | None:
        self.end(now)
        return None

    def end(self, ended: Reading) -> None:
        if self._latest is None or ended.sent > self._latest.sent:
            self._latest = ended

    @property
    def silence(self) -> float:
        """For how many seconds nothing has come, the second between looks not counted."""
        return 0.0 if self._latest is None else clock.now() - self._latest.at


class Failover:
    """The way on after `source`, to be given to a ResumingBody, for each source that breaks off.

    Some of a body's sources may be left for being slow.
    """

    def __init__(
        self,
        source: Offer,
        *,
        open_other: OpenOther,
        lost: Callable[[Offer, SourceBroken], None],
        leave: Callable[[Offer], None] = lambda _: None,
    ) -> None:
        """`lost` is told of each source that broke off, and why; `leave` of each that was slow.

        `open_other` is told for how many seconds to believe sources that say that they are held up themselves.
        """
        self._source: Offer | None = source
        self._open_other = open_other
        self._lost = lost
        self._leave = leave
        self._left = 0
        self._is_left = False
        self.arrival = Arrival()
        """A Check of each body whose source may be left."""

    @property
    def may_leave(self) -> bool:
        return self._left < MOST_LEFT

    def leave(self) -> None:
        """The source is slow, and is about to be broken off for that."""
        self._left += 1
        self._is_left = True
        if self._source is not None:
            self._leave(self._source)

    def give_way(self) -> None:
        """There is another place for this node, and the source is about to be broken off, through no fault of it.

        It counts as one of those that may be left.
        """
        self._left += 1
        self._is_left = True

    async def reopen(self, span: Span, reason: SourceBroken) -> Body:
        """The rest, from another source. Raises SourcesExhausted when no node has it, SourceBroken for no answer."""
        source, self._source = self._source, None
        if source is not None and not self._is_left and not isinstance(reason, AllBroken):
            self._lost(source, reason)
        # A source that is left gave something. Meanwhile a node above all of them may have fallen silent.
        longest, self._is_left = HELD_UP_SECONDS - self.arrival.silence if self._is_left else 0.0, False
        try:
            async with bounded(REOPEN_TIMEOUT):
                self._source, opened = await self._open_other(span, longest)
        except (ContentUnavailable, AskAgain) as error:
            # Also when its place is needed: containerd keeps what it has got, and asks for the rest.
            raise SourcesExhausted(str(error)) from error
        except TimeoutError as error:
            raise SourceBroken(f"no other source within {REOPEN_TIMEOUT:g} s") from error
        return opened.body
