"""One stripe of a layer as it comes to this node, from one source after the other."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from registryd.aio.cancelling import CancelScope
from registryd.cluster.fetch.stripe_waits import StripeWaits
from registryd.content.growing import NotArrived
from registryd.content.source import ContentUnavailable
from registryd.transfer.errors import SourceBroken, SourceLeft, SourcesExhausted
from registryd.transfer.monitoring.thresholds import (
    STRIPE_LONGEST_LOOK_SECONDS,
    STRIPE_LOOK_SECONDS,
    STRIPE_SILENCE_SECONDS,
)
from registryd.transfer.stripe_board import StripeSink
from registryd.transfer.striping import reach

if TYPE_CHECKING:
    from registryd.cluster.fetch.stripe_sources import StripeSources
    from registryd.cluster.health.stripe_pace import StripePace
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.transfer.stripe_board import StripeBoard

_log = logging.getLogger(__name__)

# How often the source of a stripe may change.
MOST_CHANGES: Final = 12
# Until a source that did not give it, and then not again, is asked once more because the index node names it: the word
# of one node that a top has failed is no proof, and others may say so in a moment.
AGAIN_SECONDS: Final = 0.5


class _Left(SourceBroken):
    """The source of a stripe is left, because it is slow or because the index node names another one."""


class StripeStream:
    """Receives one stripe, and goes on at another source when one fails or is left."""

    def __init__(  # noqa: PLR0913 - what it receives, all named
        self, sources: StripeSources, sought: Sought, stripe: int, *, source: Address, top: Address | None, size: int
    ) -> None:
        """The stripe `sought` of a layer of that size, at first from this source; `top`: the node at the top."""
        self.sought = sought
        self.stripe = stripe
        self.source = source
        """The node that gives it."""
        self.attempt: CancelScope | None = None
        """To get it from there, under way; it is cancelled when the source is left."""
        self._judged_at = 0.0
        """When the attempt began, or when the source was reported last."""
        self.ask_again_at = math.inf
        """When to ask whether others have reported the source by now."""
        self._believed_until = 0.0
        """Until when the source is not judged again, because it was held up itself; and the pause that led to that."""
        self._pause = STRIPE_LOOK_SECONDS
        self.asked_at = -math.inf
        """When the index node was asked last for another source, because the stripe is late."""
        self.is_spread = False
        """Whether the index node was asked for a source with fewer followers."""
        self._sources = sources
        self._top = top
        self._size = size
        self._other: Address | None = None
        """The node that is to give it when the source is left; None: the index node is to say."""
        self._believed: set[Address] = set()
        """The sources that broke off after long silence, and were believed once that they had no more themselves."""
        self._waits = StripeWaits()

    @property
    def is_from_top(self) -> bool:
        return self.source == self._top

    def is_to_be_judged(self, now: float, window: float) -> bool:
        """Whether the source has given for so many seconds since the last time, and was not held up lately."""
        return now - self._judged_at >= window and now >= self._believed_until

    def note_report(self, now: float) -> None:
        """The source is reported now; others that get the stripe from it may report it a moment later."""
        self._judged_at = now
        self.wait_for_reports(now)

    def wait_for_reports(self, now: float) -> None:
        """Twice as long each time: where others find nothing wrong with it, no report comes."""
        self.ask_again_at = now + STRIPE_LOOK_SECONDS + (now - self._judged_at)

    def believe(self, now: float) -> None:
        """Do not judge the source again for a while: it is held up itself."""
        self._pause = min(STRIPE_LONGEST_LOOK_SECONDS, 2 * self._pause)
        self._believed_until = now + self._pause

    def leave(self, other: Address | None) -> None:
        """End the attempt that is under way."""
        attempt, self.attempt = self.attempt, None  # once: it ends a moment later
        if attempt is not None:
            self._other = other
            attempt.cancel()

    async def receive(self, board: StripeBoard, pace: StripePace) -> None:
        """All of it. Raises SourceBroken when no source gives it."""
        changes = again = 0
        while board.left(self.stripe):
            try:
                await self._receive_from(self.source, board)
            except NotArrived as reason:
                _log.debug("stripe %d of %s does not come: %s", self.stripe, self.sought.digest, reason)
                self.source = await self._find_after_wait(reason, board, pace)
            except (SourceBroken, ContentUnavailable) as reason:
                _log.debug("stripe %d of %s does not come: %s", self.stripe, self.sought.digest, reason)
                other, self._other = self._other, None
                silence = pace.silence(self.stripe, asyncio.get_running_loop().time())
                other = other or await self._find_after(reason, board.reached[self.stripe], silence)
                if other is None:
                    raise SourcesExhausted(f"no node gives stripe {self.stripe}: {reason}") from reason
                again = again + 1 if other == self.source else 0
                if again > 1:
                    await asyncio.sleep(AGAIN_SECONDS)
                self.source = other
                changes += 1
                if changes >= MOST_CHANGES:
                    raise SourceBroken(f"no source gives stripe {self.stripe} for long") from reason

    async def _find_after_wait(self, reason: NotArrived, board: StripeBoard, pace: StripePace) -> Address:
        """The next source of the stripe where this one had nothing yet; perhaps the same. Raises SourceBroken.

        The index node keeps one at the top, because another one costs a copy, until it is reported as failed.
        """
        source, reached = self.source, board.reached[self.stripe]
        lead = reached - reach(self.stripe, board.end)
        is_idle = False
        if await self._sources.is_excused(source, self.sought, reason):
            self._waits.note_excused(reached=reached)
        else:
            is_idle = self._waits.note(source, reason.received, reached=reached, lead=lead, rate=pace.rate)
        if self._waits.are_many_for_one:
            other = await self._sources.replace(self.sought, source, reason)
            if other is None:
                raise SourcesExhausted(f"no node gives stripe {self.stripe}: {reason}") from reason
            if other != source:
                self._waits.begin_anew()
                return other
        if self._waits.are_many:
            raise SourceBroken(f"no source has more of stripe {self.stripe} for long") from reason
        other = await self._sources.find_other(self.sought, source)
        if other is None and is_idle:
            other = await self._sources.find_one_that_has_some(self.sought, source)
            if other is None:
                raise SourcesExhausted(f"no node gives stripe {self.stripe}: {reason}") from reason
        return other or source

    async def _find_after(self, reason: Exception, reached: int, silence: float) -> Address | None:
        """The next source of a stripe that ended there for this reason, after so many seconds; perhaps the same one.

        A node that takes the place of a silent one above breaks off what it gives, and may not have failed: it has no
        more of the stripe itself. That is believed once. A source that a check has left was asked for that before.
        """
        source = self.source
        breaks_off = (
            not isinstance(reason, _Left | SourceLeft | ContentUnavailable) and silence >= STRIPE_SILENCE_SECONDS
        )
        if breaks_off and not self.is_from_top and source not in self._believed:
            self._believed.add(source)
            if await self._sources.has_no_more(source, self.sought, reached):
                return await self._sources.find_other(self.sought, source) or source
        return await self._sources.replace(self.sought, source, reason)

    async def _receive_from(self, address: Address, board: StripeBoard) -> None:
        """Raises SourceBroken, ContentUnavailable."""
        attempt = self.attempt = CancelScope()
        self._judged_at, self._believed_until = asyncio.get_running_loop().time(), 0.0
        self.ask_again_at = math.inf
        self._pause = STRIPE_LOOK_SECONDS
        try:
            async with attempt:
                start = board.reached[self.stripe]
                body = await self._sources.open(address, self.sought, start, self._size, is_top=self.is_from_top)
                try:
                    await body.send_to(StripeSink(board, self.stripe))
                finally:
                    await body.aclose()
        finally:
            self.attempt = None
        if attempt.cancelled_caught:
            raise _Left(f"{address} is left")
