"""How a transfer fails: by the fault of the source, or by the fault of the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SourceBroken(Exception):
    """The source stopped giving before the end: gone, reset, stalled, or shorter than it said.

    The bytes sent so far are right and in order. Another source may go on where this one stopped.
    """


class SourceCutOff(SourceBroken):
    """The kernel found no way to the source's host any more; it says nothing about the source, nor about its host."""


class SourceLeft(SourceBroken):
    """This node broke the body off, because it found the source too slow or gone, or wants the bytes no more."""


class SourceRefused(SourceBroken):
    """The source answered with an HTTP status that brings no bytes; 404: the source does not have the content."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class SourceBusy(SourceRefused):
    """The source has the bytes and asks to come back later (503), after `retry_after` seconds if it said so."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, status=503)
        self.retry_after = retry_after


class AllBroken(SourceBroken):
    """All sources broke off that gave a body together; `reasons` tells what became of each, in order.

    Each was judged for its reason. There may be others.
    """

    def __init__(self, message: str, *, reasons: Sequence[SourceBroken] = ()) -> None:
        super().__init__("; ".join([message, *map(str, reasons)]))
        self.reasons = tuple(reasons)


class SourcesExhausted(AllBroken):
    """No source is left that could go on."""


class SinkClosed(Exception):
    """The receiver went away. This is not a fault: containerd cancels requests."""


class ReceiverIdle(SinkClosed):
    """The receiver is connected and took nothing for as long as it may: the rest of the body is thrown away."""
