"""Whether more sources bring a node more: where its own link is full, they only cost processor."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from registryd.aio import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.transfer.sink import Sink

# More sources that raise the rate of everything by less than this bring nothing.
_GAIN: Final = 1.2
# How long that is believed, and the share of that rate at which the link is still full.
_BELIEVED_SECONDS: Final = 60.0
_FULL_SHARE: Final = 0.7


class LinkRoom:
    """What comes to this node in all bodies together, and at which rate of it more sources brought nothing."""

    def __init__(self) -> None:
        self._running: dict[Sink, int] = {}
        self._ended = 0
        self._full_rate = math.inf
        self._known_at = -math.inf

    @property
    def total(self) -> int:
        """All bytes so far."""
        return self._ended + sum(sink.sent - begun for sink, begun in self._running.items())

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[None]:
        """What is sent to the sink within the block counts."""
        self._running[sink] = sink.sent
        try:
            yield
        finally:
            self._ended += sink.sent - self._running.pop(sink)

    def judge(self, before: float, since: float) -> bool:
        """Whether more sources bring more: the rate of everything before they took part, and since, in bytes a second.

        If not, the link is full.
        """
        if since > before * _GAIN:
            return True
        self._full_rate, self._known_at = since, clock.now()
        return False

    def is_full(self, rate: float) -> bool:
        """Whether so much is about as much as the link carries, as far as is known."""
        return clock.now() - self._known_at < _BELIEVED_SECONDS and rate >= self._full_rate * _FULL_SHARE
