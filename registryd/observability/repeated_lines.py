"""Repeated log lines are counted, not written: a client that can cause one line cannot fill a disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Lines of one kind that are written within a window. A cluster of some hundred nodes that loses a switch is still told
# about by name; a flood of requests costs ten lines a minute.
_WRITTEN: Final = 10
_WINDOW_SECONDS: Final = 60.0
# Kinds that are remembered. The source has some hundred; libraries may write without a template.
_KINDS: Final = 512
_TELLING_LENGTH: Final = 60


@dataclass(slots=True)
class _Window:
    began: float
    record: logging.LogRecord
    written: int = 0
    withheld: int = 0


class Repetition:
    """Which lines are of a kind (the same logger, level and template), and how many of each have come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # In the order in which they began.
        self._windows: OrderedDict[tuple[str, int, str], _Window] = OrderedDict()

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written; if not, it is counted. Lines for debugging always are."""
        if record.levelno <= logging.DEBUG:
            return True
        kind = (record.name, record.levelno, str(record.msg)[:_TELLING_LENGTH])
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(self._clock(), record)
            if len(self._windows) > _KINDS:
                self._windows.popitem(last=False)
        if window.written < _WRITTEN:
            window.written += 1
            return True
        window.withheld += 1
        return False

    def ended(self, *, all_of_them: bool = False) -> Iterator[logging.LogRecord]:
        """What there is to say of kinds whose window is over; each is forgotten."""
        now = self._clock()
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if not all_of_them and now - window.began < _WINDOW_SECONDS:
                return
            del self._windows[kind]
            if window.withheld:
                yield _summary(window)


class CountingHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, and instead of many of a kind how many there were, with the next line of any kind."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._repetition = Repetition(clock)

    def emit(self, record: logging.LogRecord) -> None:
        for summary in self._repetition.ended():
            super().emit(summary)
        if self._repetition.admits(record):
            super().emit(record)

    def close(self) -> None:
        """Say what is left to be said."""
        for summary in self._repetition.ended(all_of_them=True):
            super().emit(summary)
        super().close()


def _summary(window: _Window) -> logging.LogRecord:
    kind = window.record
    text = f"{window.withheld} more lines of this kind in the minute after it were counted and not written: %s"
    return logging.LogRecord(kind.name, kind.levelno, kind.pathname, kind.lineno, text, (kind.msg,), None)
