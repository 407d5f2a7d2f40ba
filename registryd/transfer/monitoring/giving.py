"""What one source gives to all bodies that come from it at the same time.

TCP shares a link unevenly among them, and for long: of three layers from one node, by a link of 60 Mbit/s, one had
150 KB/s for five seconds, and the two others had the rest. All of them together say what the source is worth.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.transfer.sink import Sink


class Giving:
    """Of one source."""

    def __init__(self) -> None:
        self._begun: dict[Sink, int] = {}
        self._ended = 0

    @property
    def bodies(self) -> int:
        """How many come now."""
        return len(self._begun)

    @property
    def sent(self) -> int:
        """The bytes of all bodies so far."""
        return self._ended + sum(sink.sent - begun for sink, begun in self._begun.items())

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[None]:
        """Count what is sent to the sink during the block, as one body."""
        self._begun[sink] = sink.sent
        try:
            yield
        finally:
            self._ended += sink.sent - self._begun.pop(sink)
