"""A file of lines that an operator changes while the agent runs: what it said before counts while it cannot be read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

_log = logging.getLogger(__name__)


class LinesFile(Generic[T]):
    """A file of lines, read anew each time, up to `most_bytes`.

    `unreadable` is the beginning of a warning: which setting's file cannot be read, and what stays in force. The
    warning is logged once for each reason.
    """

    def __init__(
        self, path: Path | None, parse: Callable[[Sequence[str]], T], *, most_bytes: int, unreadable: str
    ) -> None:
        """`parse` raises ValueError. Without a path there is nothing to read."""
        self._path = path
        self._parse = parse
        self._most_bytes = most_bytes
        self._unreadable = unreadable
        self._complaint = ""

    @property
    def paths(self) -> Sequence[Path]:
        """The paths to watch."""
        return [self._path] if self._path else []

    def read(self) -> T | None:
        """The lines now; None where there is no file, or the file cannot be read."""
        if self._path is None:
            return None
        try:
            said = self._parse(self._lines(self._path))
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("%s: %s", self._unreadable, error)
            return None
        self._complaint = ""
        return said

    def _lines(self, path: Path) -> Sequence[str]:
        return read_plain(path, most_bytes=self._most_bytes).decode().splitlines()
