"""Lines that say how much may be moved, and when: `mon-fri 08:00-18:00 upload=20MiB download=50MiB`.

`registryd.agent.bandwidth` keeps the agent to them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from registryd.notation import parse_size

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_RANGE: Final = re.compile(rf"({'|'.join(_DAYS)})(?:-({'|'.join(_DAYS)}))?")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_RATES: Final = ("upload", "download", "origin")
_BACKGROUND: Final = "background"
_PERCENT: Final = re.compile(r"(\d{1,3})%", re.ASCII)
# The least that one body gets, whatever a limit says (transfer.uploads).
LEAST_RATE: Final = 1024 * 1024
_MINUTES_OF_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second, 0 for no limit; `background` is a share in percent."""

    upload: int = 0
    download: int = 0
    origin: int = 0
    background: int = 25

    @property
    def background_share(self) -> float:
        return self.background / 100


@dataclass(frozen=True, slots=True)
class Limit:
    """What one line says: on these days (0 is Monday), from a minute of the day to another one, perhaps of the next."""

    values: dict[str, int]
    days: frozenset[int] = field(default=frozenset(range(7)))
    begins: int = 0
    ends: int = _MINUTES_OF_DAY

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raises ValueError, which says what is wrong."""
        days, hours, values = set[int](), None, dict[str, int]()
        for word in line.split():
            if match := _DAY_RANGE.fullmatch(word):
                days |= _days(*match.groups())
            elif match := _HOURS.fullmatch(word):
                if hours is not None:
                    raise ValueError(f"{line[:80]!r} has hours twice: write two lines")
                hours = _hours(word, *(int(part) for part in match.groups()))
            else:
                name, value = _value(word)
                if name in values:
                    raise ValueError(f"{line[:80]!r}: {name}= is there twice")
                values[name] = value
        if not values:
            raise ValueError(f"{line[:80]!r} limits nothing: give upload=, download=, origin= or background=")
        return cls(values, frozenset(days or range(7)), *(hours or (0, _MINUTES_OF_DAY)))

    def applies(self, moment: datetime) -> bool:
        """Whether it does at that moment. Hours that go past midnight belong to the day on which they begin."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.begins < self.ends:
            return day in self.days and self.begins <= minute < self.ends
        is_of_yesterday = (day - 1) % 7 in self.days and minute < self.ends
        return is_of_yesterday or (day in self.days and minute >= self.begins)


def parse_limits(lines: Iterable[str]) -> tuple[Limit, ...]:
    """Of each line that is not empty and no comment. Raises ValueError."""
    texts = (line.partition("#")[0].strip() for line in lines)
    return tuple(Limit.parse(text) for text in texts if text)


def rates_at(moment: datetime, limits: Sequence[Limit], otherwise: Rates) -> Rates:
    """The first line that applies counts, for each of the rates."""
    found: dict[str, int] = {}
    for limit in limits:
        if limit.applies(moment):
            found = {**limit.values, **found}
    return Rates(
        upload=found.get("upload", otherwise.upload),
        download=found.get("download", otherwise.download),
        origin=found.get("origin", otherwise.origin),
        background=found.get(_BACKGROUND, otherwise.background),
    )


def check_rate(text: str, rate: int) -> int:
    """The rate, in bytes a second. Raises ValueError for one with which nothing could be moved in reasonable time."""
    if 0 < rate < LEAST_RATE:
        raise ValueError(f"{text}: must be 1MiB or more, or 0B for no limit")
    return rate


def _days(first: str, last: str | None) -> set[int]:
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    return {day % 7 for day in range(begin, end + 1 if begin <= end else end + 8)}


def _hours(word: str, *parts: int) -> tuple[int, int]:
    begins, ends = parts[0] * 60 + parts[1], parts[2] * 60 + parts[3]
    if begins == ends or ends > _MINUTES_OF_DAY:
        raise ValueError(f"{word} is no time of the day")
    return begins, ends


def _size(word: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise ValueError(f"{word[:80]!r}: {error}, such as 50MiB") from error


def _value(word: str) -> tuple[str, int]:
    name, equals, text = word.partition("=")
    if equals and name in _RATES:
        return name, check_rate(word, _size(word, text))
    if equals and name == _BACKGROUND and (match := _PERCENT.fullmatch(text)) and 1 <= int(match[1]) <= 100:  # noqa: PLR2004
        return name, int(match[1])
    raise ValueError(
        f"{word[:80]!r}: expected days (mon-fri), hours (08:00-18:00), upload=, download= or origin= with a size such"
        " as 50MiB, or background= with 1% to 100%"
    )
