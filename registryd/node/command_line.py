"""How a program of the node was started, as its folder below /proc tells."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAME_AND_NUMBER: Final = 2


def is_of_the_node(folder: Path) -> bool:
    """Not of a container on it, such as a node of kind: those have a number in their own PID namespace besides."""
    with suppress(OSError):
        lines = (folder / "status").read_text().splitlines()
        return not any(line.startswith("NSpid:") and len(line.split()) > _NAME_AND_NUMBER for line in lines)
    return True


def words_of(folder: Path) -> list[str]:
    return [os.fsdecode(word) for word in (folder / "cmdline").read_bytes().split(b"\0")]


def flag_in(words: list[str], names: tuple[str, ...]) -> str:
    """The last value of a flag: `--config=X`, `--config X`, `-c X`."""
    given = [
        value
        for word, after in pairwise([*words, ""])
        for name in names
        if (value := after if word == name else word.removeprefix(f"{name}=") if word.startswith(f"{name}=") else "")
    ]
    return given[-1] if given else ""
