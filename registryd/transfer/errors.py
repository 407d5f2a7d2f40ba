"""How a transfer ends when it does not end well: by the fault of the one who gives, or of the one who takes."""

from __future__ import annotations


class SourceBroken(Exception):
    """The source stopped giving before the end: gone, reset, stalled, or shorter than it said.

    What was sent so far is right and in order; another source may go on where this one stopped.
    """


class SinkClosed(Exception):
    """The receiver went away; there is nobody to send to. Not a fault: containerd cancels requests."""
