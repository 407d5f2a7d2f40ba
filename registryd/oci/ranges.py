"""Byte ranges (RFC 9110 section 14): what a Range header asks for, and the span of the content that answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from registryd.oci.errors import RangeInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Names of units are case-insensitive, white space is allowed around a range and nowhere in it.
_UNIT: Final = re.compile(r"(?i:bytes)=", re.ASCII)
_RANGE: Final = re.compile(
    r"[ \t]*(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})?|-(?P<suffix>[0-9]{1,18}))[ \t]*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` up to, not including, `stop` of content; empty only for empty content.

    Raises ValueError when it runs backwards or starts before the content.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"bytes {self.start} to {self.stop} are not a span")

    @classmethod
    def whole(cls, size: int) -> Self:
        """The whole content of that size."""
        return cls(0, size)

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start

    def after(self, count: int) -> Span:
        """The rest when the first `count` bytes have been sent."""
        return Span(self.start + count, self.stop)

    def first(self, count: int) -> Span:
        """The first `count` bytes of the span, or all of it."""
        return Span(self.start, min(self.start + count, self.stop))

    def content_range(self, size: int) -> str:
        """The Content-Range header of a 206; the span must not be empty."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """A range as asked for: from `first`, up to and with `last`; or the last `suffix` bytes."""

    first: int | None
    last: int | None
    suffix: int | None = None

    @classmethod
    def parse(cls, header: str | None) -> Self | None:
        """Read a Range header; None when there is none or it is one that RFC 9110 lets a server ignore.

        Ignored: other units, several ranges, and anything malformed (section 14.2).
        """
        ranges = cls.parse_list(header)
        return ranges[0] if len(ranges) == 1 else None

    @classmethod
    def parse_list(cls, header: str | None) -> Sequence[Self]:
        """Read a Range header with any number of ranges; none when it is to be ignored."""
        unit = _UNIT.match(header) if header else None
        if header is None or unit is None:
            return ()
        ranges = [cls._parse_one(text) for text in header[unit.end() :].split(",")]
        return [each for each in ranges if each] if all(ranges) else ()

    @classmethod
    def _parse_one(cls, text: str) -> Self | None:
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        first, last, suffix = (None if group is None else int(group) for group in match.groups())
        if first is not None and last is not None and last < first:
            return None
        return cls(first, last, suffix)

    @property
    def asks_for_all(self) -> bool:
        """Whether it is `bytes=0-`, which is answered with 200.

        containerd 2.1's parallel fetch probes with it, and a 200 keeps the fetch sequential and resumable.
        """
        return self.first == 0 and self.last is None

    def span(self, size: int) -> Span:
        """The bytes of a content of this size; raises RangeInvalid when none of them is in it."""
        if self.suffix is not None:
            start, stop = max(0, size - self.suffix), size
        else:
            start, stop = self.first or 0, size if self.last is None else min(self.last + 1, size)
        if start >= stop:
            raise RangeInvalid(f"the content has {size} bytes", size=size)
        return Span(start, stop)


def spans_of(ranges: Iterable[RangeRequest], size: int) -> Sequence[Span]:
    """The bytes of a content of this size that several ranges name, in their order, without those that are outside.

    Raises RangeInvalid when all of them are.
    """
    spans = []
    outside = RangeInvalid("no range", size=size)
    for each in ranges:
        try:
            spans.append(each.span(size))
        except RangeInvalid as error:
            outside = error
    if not spans:
        raise outside
    return spans
