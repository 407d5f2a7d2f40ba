"""A body whose source is watched while it gives."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from registryd.aio.unexpected import note_unexpected
from registryd.transfer.breaking import send_until
from registryd.transfer.monitoring.giving import Giving
from registryd.transfer.monitoring.meter import MeteredSink

if TYPE_CHECKING:
    from registryd.transfer.body import Body
    from registryd.transfer.monitoring.meter import Reading
    from registryd.transfer.sink import Sink


class Check(ABC):
    """One way in which the source of one body may be too slow."""

    @abstractmethod
    def begin(self, begun: Reading) -> None:
        """The body begins to be sent."""

    @abstractmethod
    def pause(self) -> float:
        """Seconds until it wants to look."""

    @abstractmethod
    async def look(self, now: Reading) -> str | None:
        """Why the body is to be broken off; None: it goes on. A check that raises anything does not look again."""

    def end(self, ended: Reading) -> None:  # noqa: B027 - most checks keep nothing
        """End the check: no more bytes are sent, whether the body is whole or not."""


class MonitoredBody:
    """Another body, broken when a check finds that its source is too slow.

    Only the time in which the receiver waited for the source counts: a slow receiver is not the source's fault.
    """

    def __init__(self, body: Body, *checks: Check, giving: Giving | None = None) -> None:
        """What it sends counts as given by its source, if that is to be known."""
        self._body = body
        self._checks = checks
        self._giving = giving or Giving()

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        metered = MeteredSink(sink, self.length)
        begun = metered.read_meter()
        for check in self._checks:
            check.begin(begun)
        try:
            with self._giving.counting(metered):
                await send_until(self._watch(metered, begun), self._body, metered)
        finally:
            for check in self._checks:
                check.end(metered.read_meter())

    async def aclose(self) -> None:
        await self._body.aclose()

    async def _watch(self, sink: MeteredSink, begun: Reading) -> str:
        """Returns why the source is to be left."""
        due = {check: begun.at + check.pause() for check in self._checks}
        while due:
            check = min(due, key=due.__getitem__)
            await asyncio.sleep(due[check] - asyncio.get_running_loop().time())
            now = sink.read_meter()
            try:
                reason = await check.look(now)
            except Exception as error:  # noqa: BLE001 - a bug in one check is no fault of the source, and ends no other
                note_unexpected("checking a source", error)
                del due[check]
                continue
            if reason is not None:
                return reason
            due[check] = asyncio.get_running_loop().time() + check.pause()
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never
