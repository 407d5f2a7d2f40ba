"""All stripes of a layer side by side: one body, whose bytes come in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from registryd.aio.scope import alongside
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.fetch.stripe_watch import StripeWatch
from registryd.cluster.health.stripe_pace import StripePace
from registryd.transfer.errors import SourceBroken, SourcesExhausted

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from registryd.cluster.fetch.stripe_sources import StripeSources
    from registryd.cluster.fetch.stripe_stream import StripeStream
    from registryd.content.sought import Sought
    from registryd.oci.ranges import Span
    from registryd.transfer.inflow import Inflows
    from registryd.transfer.sink import Sink
    from registryd.transfer.stripe_board import StripeBoard

_log = logging.getLogger(__name__)


class StripedBody:
    """A span of the layer. It breaks off when a stripe has no source any more: the rest comes as a whole."""

    def __init__(
        self, sources: StripeSources, streams: Sequence[StripeStream], sought: Sought, span: Span, inflows: Inflows
    ) -> None:
        self._sources = sources
        self._streams = streams
        self._sought = sought
        self._span = span
        self._inflows = inflows
        self._watch = StripeWatch(sources, streams)

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        try:
            with self._inflows.in_stripes(self._sought.digest, self._span) as board:
                async with alongside(self._fail_with(self._receive(board), board), name="receive stripes"):
                    while data := await board.take():
                        await sink.write(data)
        except SourceBroken as reason:
            _log.debug("%s does not come in stripes: %s", self._sought.digest, reason)
            self._sources.give_up(self._sought)
            raise

    async def aclose(self) -> None:
        """Do nothing: it holds nothing while it is not being sent."""

    async def _fail_with(self, receiving: Coroutine[Any, Any, None], board: StripeBoard) -> None:
        reason = SourceBroken("no source gives more of it")
        try:
            await receiving
        except SourceBroken as broken:
            reason = broken
        except Exception as error:  # noqa: BLE001 - whoever waits for the bytes is to go on without stripes
            note_unexpected("receiving stripes", error)
        board.fail(reason)

    async def _receive(self, board: StripeBoard) -> None:
        """All stripes. Raises SourceBroken when one of them does not come."""
        pace = StripePace(board.reached, asyncio.get_running_loop().time())
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch.run(board, pace))
                await asyncio.wait([group.create_task(stream.receive(board, pace)) for stream in self._streams])
                watch.cancel()
        except* SourceBroken as failures:
            reasons = _flat(failures)
            exhausted = next((reason for reason in reasons if isinstance(reason, SourcesExhausted)), None)
            raise (exhausted or reasons[0]) from None


def _flat(failures: BaseExceptionGroup[SourceBroken]) -> list[SourceBroken]:
    found: list[SourceBroken] = []
    for failure in failures.exceptions:
        found.extend(_flat(failure) if isinstance(failure, BaseExceptionGroup) else [failure])
    return found
