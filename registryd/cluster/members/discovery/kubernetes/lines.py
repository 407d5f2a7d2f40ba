"""Lines out of chunks of bytes, each bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class LineTooLong(Exception):
    """A line has not ended where the longest one would have."""


class LineSplitter:
    """Collects chunks until lines are whole. Bytes after the last newline are no line: the sender broke off."""

    def __init__(self, longest: int) -> None:
        """`longest` is in bytes, without the newline."""
        self._longest = longest
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes, without empty ones. Raises LineTooLong."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._extend(end)
            line = bytes(self._rest)
            self._rest.clear()
            if line.strip():
                yield line
        self._extend(rest)

    def _extend(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._longest:
            raise LineTooLong(f"more than {self._longest} bytes without a newline")
        self._rest += part
