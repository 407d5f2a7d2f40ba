"""Files that hold secrets, one per line.

The first is used, all are accepted, so each can be replaced while others still hold the old one. Empty lines and
lines that begin with # are left out.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from registryd.identity.errors import SecretInvalid
from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from pathlib import Path

# One is in use, one is leaving; more than a few are a wrong file. Each costs an authority and a link of the chain.
_MAX_LINES: Final = 8
_MAX_BYTES: Final = 16 * 1024
_LINE: Final = re.compile(r"[\x21-\x7e]{32,1024}", re.ASCII)
# Different pairs of neighbours. 128 random bits in hexadecimal, the poorest that is long enough, have 29 ± 1.3 of
# them; repetitions have few. (No rule finds out that a line is from a book.)
_MIN_PAIRS: Final = 20
_NEEDED: Final = "needs at least 32 random printable characters without spaces"


def read_lines(path: Path, *, remedy: str, missing: str = "") -> tuple[str, ...]:
    """The lines that count, in order and each once.

    Raises SecretInvalid, whose message ends with the remedy; for a file that is not there, with `missing` if given.
    """
    return parse_lines(_read(path, missing or remedy), name=str(path), remedy=remedy)


def parse_lines(text: str, *, name: str, remedy: str) -> tuple[str, ...]:
    """As `read_lines`, of a text; `name` is what an error calls it."""
    found: dict[str, None] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and not line.startswith("#"):
            if not _is_hard_to_guess(line):
                raise SecretInvalid(f"{name}, line {number}: {_NEEDED}; {remedy}")
            found[line] = None
    if not 0 < len(found) <= _MAX_LINES:
        raise SecretInvalid(f"{name}: has {len(found)} lines, needs 1 to {_MAX_LINES}; {remedy}")
    return tuple(found)


def _is_hard_to_guess(line: str) -> bool:
    return _LINE.fullmatch(line) is not None and len(set(pairwise(line))) >= _MIN_PAIRS


def _read(path: Path, missing: str) -> str:
    try:
        data = read_plain(path, most_bytes=_MAX_BYTES)
    except FileNotFoundError as error:
        raise SecretInvalid(f"{path}: {error.strerror}; {missing}") from error
    except OSError as error:
        raise SecretInvalid(f"{path}: {error.strerror}") from error
    # Letters outside ASCII become ones that no line may have, so that the error names the line and not a codec.
    return data.decode("ascii", errors="replace")
