"""How a transfer ends when it does not end well: by the fault of the one who gives, or of the one who takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SourceBroken(Exception):
    """The source stopped giving before the end: gone, reset, stalled, or shorter than it said.

    What was sent so far is right and in order; another source may go on where this one stopped.
    """


class SourceRefused(SourceBroken):
    """The source answered with another HTTP status than one that brings the bytes; 404: it does not have them."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class SourceBusy(SourceRefused):
    """The source has the bytes and asks to come back later (503), after `retry_after` seconds if it said so."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, status=503)
        self.retry_after = retry_after


class SourcesExhausted(SourceBroken):
    """No source is left that could go on; `reasons` tells what became of each, in order."""

    def __init__(self, message: str, *, reasons: Sequence[SourceBroken] = ()) -> None:
        super().__init__("; ".join([message, *map(str, reasons)]))
        self.reasons = tuple(reasons)


class SinkClosed(Exception):
    """The receiver went away; there is nobody to send to. Not a fault: containerd cancels requests."""


class ReceiverIdle(SinkClosed):
    """It is connected, and took nothing for as long as it may: what is left for it is thrown away."""
