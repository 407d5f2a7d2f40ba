"""Sources of parts of one content, each with a pace and faults of its own, over virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.transfer.errors import SourceBroken, SourceBusy
from registryd.transfer.http.fetch import STALL_TIMEOUT

if TYPE_CHECKING:
    from registryd.oci.ranges import Span
    from registryd.transfer.sink import Sink

MIB = 1 << 20
STEP = 64 * 1024


@dataclass(eq=False)
class FakeSupplier:
    """Gives `data` at `rate` bytes a second; after `dies_after` or `stalls_after` bytes in all it does not.

    What it has sent counts in `given`, whether that was taken or not.
    """

    data: bytes
    source: str
    rate: float
    dies_after: int | None = None
    stalls_after: int | None = None
    busy_times: int = 0
    given: int = 0
    failures: list[str] = field(default_factory=list)
    asked: list[Span] = field(default_factory=list)
    open_now: int = 0

    async def open(self, span: Span) -> FakePart:
        assert not self.open_now
        self.asked.append(span)
        await asyncio.sleep(0.001)
        if self.busy_times:
            self.busy_times -= 1
            raise SourceBusy("the fake source is busy", retry_after=1.0)
        if self.dies_after is not None and self.given >= self.dies_after:
            raise SourceBroken("the fake source is dead")
        return FakePart(self, span)

    @property
    def has_failed(self) -> bool:
        return bool(self.failures)

    def failed(self, reason: SourceBroken) -> None:
        self.failures.append(str(reason))


class FakePart:
    """A body of a fake supplier."""

    def __init__(self, supplier: FakeSupplier, span: Span) -> None:
        self._supplier = supplier
        self._span = span
        supplier.open_now += 1
        self.is_closed = False

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        supplier = self._supplier
        for start in range(self._span.start, self._span.stop, STEP):
            stop = min(start + STEP, self._span.stop)
            supplier.given += stop - start
            await asyncio.sleep((stop - start) / supplier.rate)
            if supplier.dies_after is not None and supplier.given > supplier.dies_after:
                raise SourceBroken("the fake source died")
            if supplier.stalls_after is not None and supplier.given > supplier.stalls_after:
                await asyncio.sleep(STALL_TIMEOUT)
                raise SourceBroken("no byte for 5.5 s")
            await sink.write(supplier.data[start:stop])

    async def aclose(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._supplier.open_now -= 1
