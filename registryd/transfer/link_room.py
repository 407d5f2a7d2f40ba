"""Whether more sources bring a node more: where its own link is full, they only cost processor."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet
from registryd.transfer.monitoring.thresholds import FULL_SHARE, FULL_WITNESSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.transfer.sink import Sink

# More sources that raise the rate of everything by less than this bring nothing.
_GAIN: Final = 1.2
# How long that is believed. Else each layer would find it out for itself; an image takes some such times.
VAIN_SECONDS: Final = 10.0
# Of one image, three layers come at a time.
_REMEMBERED: Final = 10


class LinkRoom:
    """What comes to this node of all content that others have whole, and at which rate more sources brought nothing."""

    def __init__(self) -> None:
        self._running: dict[Sink, int] = {}
        self._ended = 0
        self._full: ExpiringSet[float] = ExpiringSet(lifetime=VAIN_SECONDS, capacity=_REMEMBERED)

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

    def judge(self, before: float, since: float, *, others: int) -> bool:
        """Whether more sources bring more: the rate of everything before they took part, and since, in bytes a second.

        If not, and several `others` have given something, the link is full: one other may be slow itself.
        """
        if since > before * _GAIN:
            return True
        if others >= FULL_WITNESSES:
            self._full.add(since)
        return False

    def is_full(self, rate: float) -> bool:
        """Whether so much is about as much as the link carries, as far as is known."""
        known = list(self._full)
        return bool(known) and rate >= max(known) * FULL_SHARE
