"""Leaves the sources of a layer's stripes that hold the layer up, while others give well.

The node reports a source that gives slowly or gets everything slowly to the index node, and leaves it if that one names
another: when most of those that get something from this source say the same. A source that is held up itself reports
its own source: it is believed for some seconds in which all other stripes wait, and then the index node finds out who
is at fault. The node also asks whether another node has taken the place of the top. When only a few stripes have not
come, those that get one from the same source get it from each other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.transfer.monitoring.thresholds import STRIPE_LOOK_SECONDS, STRIPE_SPREAD_SECONDS
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.aio.cancelling import CancelScope
    from registryd.cluster.fetch.stripe_sources import StripeSources
    from registryd.cluster.fetch.stripe_stream import StripeStream
    from registryd.cluster.health.stripe_pace import StripePace
    from registryd.notation import Address
    from registryd.transfer.stripe_board import StripeBoard

_log = logging.getLogger(__name__)

# How often the index node is asked for another source of a stripe that is late: that of a source above may come first.
_ASK_SECONDS: Final = 1.0
# So many stripes may come last.
_MOST_LAST: Final = STRIPES // 2


class StripeWatch:
    """Watches all stripes of one layer; `streams` has them in their order."""

    def __init__(self, sources: StripeSources, streams: Sequence[StripeStream]) -> None:
        self._sources = sources
        self._streams = streams

    async def run(self, board: StripeBoard, pace: StripePace) -> None:
        """Look at them again and again, until cancelled."""
        time = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(STRIPE_LOOK_SECONDS)
            pace.look(board.reached, time())
            for stripe in pace.late([stream.stripe for stream in self._streams if board.waits_for(stream.stripe)]):
                if await self._leave_late(self._streams[stripe]):
                    pace.begin_anew(stripe)
            for stripe in pace.held_up():
                if not (board.left(stripe) and (pace.is_outrun(stripe) or board.waits_for(stripe))):
                    continue
                stream = self._streams[stripe]
                if stream.is_to_be_judged(time(), pace.window):
                    await self._judge(stream, board)
                elif stream.ask_again_at <= time():
                    await self._ask_again(stream)
            await self._spread_last(board, pace)
            if pace.is_worth_a_change(board.span.stop - board.end):
                await self._look_for_top(board)

    async def _leave_late(self, stream: StripeStream) -> bool:
        """Whether the source of this stripe, which is late, is left."""
        attempt, source, now = stream.attempt, stream.source, asyncio.get_running_loop().time()
        if attempt is None or stream.is_from_top or now - stream.asked_at < _ASK_SECONDS:
            return False
        stream.asked_at = now
        other = await self._sources.find_other(stream.sought, source)
        if other is None or stream.attempt is not attempt:
            return False
        stream.leave(other)
        return True

    async def _spread_last(self, board: StripeBoard, pace: StripePace) -> None:
        """Pass the last stripes on, and get them from others that do, once all others are here: links are idle then."""
        last = [stream for stream in self._streams if board.left(stream.stripe)]
        if len(last) > _MOST_LAST:
            return
        for stream in last:
            attempt, source = stream.attempt, stream.source
            if attempt is None or stream.is_from_top or stream.is_spread:
                continue
            if pace.seconds(stream.stripe, board.left(stream.stripe)) < STRIPE_SPREAD_SECONDS:
                continue
            stream.is_spread = True
            other = await self._sources.spread(stream.sought, source)
            if other is not None and stream.attempt is attempt:
                _log.debug("stripe %d of %s comes last, from %s now", stream.stripe, stream.sought.digest, other)
                stream.leave(other)

    async def _look_for_top(self, board: StripeBoard) -> None:
        """Go to another node if another one has taken the place of the top: a node beside this one found that slow."""
        for stream in self._streams:
            attempt = stream.attempt
            if stream.is_from_top and attempt is not None and board.left(stream.stripe):
                other = await self._sources.named_by_now(stream.sought, stream.source)
                if other is not None and stream.attempt is attempt:
                    stream.leave(None)

    async def _judge(self, stream: StripeStream, board: StripeBoard) -> None:
        """Report the source of this stripe if it is slow, and leave it if it does not answer, or is slow to most."""
        attempt, source = stream.attempt, stream.source
        if attempt is None or stream.is_from_top:
            return
        match await self._sources.is_held_up(source, stream.sought, board, stream.stripe):
            case True:
                stream.believe(asyncio.get_running_loop().time())
            case False:
                await self._report(stream, attempt, source)
            case None:
                await self._leave(stream, attempt, source, None)

    async def _report(self, stream: StripeStream, attempt: CancelScope, source: Address) -> None:
        stream.note_report(asyncio.get_running_loop().time())
        other = await self._sources.report_slow(stream.sought, source)
        if other is not None and other != source:  # else it is slow to this node only, as far as the index node knows
            await self._leave(stream, attempt, source, other)

    async def _ask_again(self, stream: StripeStream) -> None:
        """Leave a source that this node has reported, if the index node has heard it from others, too, by now."""
        attempt, source = stream.attempt, stream.source
        if attempt is None:
            return
        stream.wait_for_reports(asyncio.get_running_loop().time())
        other = await self._sources.named_by_now(stream.sought, source)
        if other is not None:
            await self._leave(stream, attempt, source, other)

    async def _leave(self, stream: StripeStream, attempt: CancelScope, source: Address, other: Address | None) -> None:
        if stream.attempt is attempt:  # it may have ended meanwhile
            stream.leave(other)
            if other is not None:
                await self._sources.tell_slow(source, stream.sought)
