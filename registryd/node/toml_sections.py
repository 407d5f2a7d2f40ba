"""A TOML text cut where its tables begin, so that a piece can be put in or taken out and every other byte stays.

A library that parses and writes again would have to be trusted with each comment and each odd spacing. Here the rest is
not touched, by construction, and code that changes a text parses the result and compares.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADER = re.compile(r"[ \t]*\[")


@dataclass(frozen=True, slots=True)
class Section:
    """A header line and all lines up to the next one; `path` is empty for what stands before the first header."""

    path: tuple[str, ...]
    text: str

    @property
    def lines(self) -> list[str]:
        return lines_of(self.text)


def lines_of(text: str) -> list[str]:
    """With their ends. Only a line feed ends a line of TOML."""
    return _LINE.findall(text)


def sections_of(text: str) -> list[Section]:
    """The text in pieces; joined they are the text again. Raises `tomllib.TOMLDecodeError` when it is not TOML."""
    tomllib.loads(text)
    return [Section(_path(piece), piece) for piece in _pieces(text)]


def _pieces(text: str) -> Iterator[str]:
    piece = ""
    for line in lines_of(text):
        # A bracket at the start of a line may also belong to an array or a string of several lines; what stands
        # before it is then no TOML by itself.
        if _HEADER.match(line) and _is_toml(piece):
            yield piece
            piece = line
        else:
            piece += line
    yield piece


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _path(piece: str) -> tuple[str, ...]:
    first = lines_of(piece)[:1]
    if not first or not _HEADER.match(first[0]):
        return ()
    path: tuple[str, ...] = ()
    table: Any = tomllib.loads(first[0])
    while table:
        ((key, table),) = table.items()
        path = (*path, key)
        table = table[0] if isinstance(table, list) else table
    return path


def newline_of(text: str) -> str:
    """How the text ends its lines."""
    first = lines_of(text)[:1]
    return "\r\n" if first and first[0].endswith("\r\n") else "\n"


def quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = "".join(_ESCAPES.get(letter) or _escaped(letter) for letter in text)
    return f'"{escaped}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LAST_CONTROL = 0x1F
_DELETE = 0x7F


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) <= _LAST_CONTROL or ord(letter) == _DELETE else letter
