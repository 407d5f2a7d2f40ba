"""Lines that come again and again are counted."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

from registryd.observability.repeated_lines import CountingHandler

if TYPE_CHECKING:
    from collections.abc import Iterator


class Log:
    """A logger with a handler of its own and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.handler = CountingHandler(self.stream, clock=lambda: self.now)
        self.logger = logging.getLogger("tests.repeated_lines")
        self.logger.addHandler(self.handler)
        self.logger.setLevel(logging.DEBUG)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.logger.removeHandler(log.handler)
    log.handler.close()


def test_ten_of_a_kind_are_written_and_then_how_many_more_there_were(log: Log) -> None:
    for number in range(10_000):
        log.logger.warning("refused: %d", number)
    assert log.lines == [f"refused: {number}" for number in range(10)]
    log.now = 61.0
    log.logger.info("something else")
    assert log.lines[10:] == [
        "9990 more lines of this kind in the minute after it were counted and not written: refused: %d",
        "something else",
    ]


def test_a_kind_is_written_again_in_the_next_minute(log: Log) -> None:
    for minute in range(5):
        log.now = 61.0 * minute
        for _ in range(12):
            log.logger.error("refused: %s", "somebody")
    assert log.lines.count("refused: somebody") == 50


def test_kinds_and_levels_do_not_hide_each_other(log: Log) -> None:
    for number in range(20):
        log.logger.warning("one: %d", number)
    log.logger.warning("another")
    log.logger.error("one: %d", 21)
    assert log.lines[10:] == ["another", "one: 21"]


def test_lines_for_debugging_are_all_written(log: Log) -> None:
    for number in range(50):
        log.logger.debug("detail %d", number)
    assert len(log.lines) == 50


def test_what_is_counted_is_said_at_the_end_at_the_latest(log: Log) -> None:
    for _ in range(13):
        log.logger.warning("refused")
    log.handler.close()
    assert log.lines[-1].startswith("3 more lines")


def test_texts_of_libraries_that_differ_in_every_line_do_not_fill_the_memory(log: Log) -> None:
    for number in range(5_000):
        log.logger.warning(f"{number} never the same")  # noqa: G004 - as some do
    assert len(log.handler._repetition._windows) <= 512
