"""How far a list of images has come: a bar on a terminal, a line every few seconds where there is none."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from registryd.notation import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from registryd.inventory.lists import ImageName
    from registryd.oci.reference import Registry

# Often enough to see that it goes on, seldom enough for a log.
_LINE_SECONDS: Final = 5.0


class Done(Protocol):
    """The outcome of an image."""

    @property
    def image(self) -> ImageName: ...

    @property
    def is_complete(self) -> bool: ...


class Shown(Protocol):
    """Is told how far it has come, and shows it."""

    def advanced(self, count: int) -> None:
        """So many bytes more."""

    def finished(self, outcome: Done) -> None:
        """An image is done."""

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        """A registry asked to be left alone for so long."""


class Bar:
    """Images done of all, and the bytes meanwhile."""

    def __init__(self, bar: Progress, images: TaskID) -> None:
        self._bar = bar
        self._images = images
        self._bytes = 0

    def advanced(self, count: int) -> None:
        self._bytes += count
        self._bar.update(self._images, size=decimal(self._bytes))

    def finished(self, outcome: Done) -> None:
        self._bar.advance(self._images)
        if not outcome.is_complete:
            self._bar.console.print(f"[red]incomplete[/] {outcome.image}")

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        self._bar.console.print(_waiting(registry, seconds, why), markup=False)


class Lines:
    """The same for a log."""

    def __init__(self, doing: str, total: int, out: TextIO) -> None:
        self._doing = doing
        self._total = total
        self._out = out
        self._began = time.monotonic()
        self._bytes = self._done = self._incomplete = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def advanced(self, count: int) -> None:
        self._bytes += count

    def finished(self, outcome: Done) -> None:
        self._done += 1
        if not outcome.is_complete:
            self._incomplete += 1
            self._say(f"incomplete {outcome.image}")

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        self._say(_waiting(registry, seconds, why))

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._timer:
            passed = format_duration(round(time.monotonic() - self._began))
            wrong = f", {self._incomplete} incomplete" if self._incomplete else ""
            self._say(f"{self._doing}: {self._done} of {self._total} images, {decimal(self._bytes)}{wrong}, {passed}")
        self._timer = asyncio.get_running_loop().call_later(_LINE_SECONDS, self._tick)

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()


class Silent:
    """No progress is shown."""

    def advanced(self, count: int) -> None:
        pass

    def finished(self, outcome: Done) -> None:
        pass

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        pass


@contextmanager
def showing_progress(doing: str, total: int, *, quiet: bool) -> Iterator[Shown]:
    """Progress on standard error for the length of the block."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield Silent()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[size]}"),
        )
        with Progress(*columns, console=console) as bar:
            yield Bar(bar, bar.add_task(doing, total=total, size=""))
    else:
        lines = Lines(doing, total, sys.stderr)
        try:
            yield lines
        finally:
            lines.close()


def _waiting(registry: Registry, seconds: float, why: str) -> str:
    return f"waiting {format_duration(round(seconds))} for {registry}: {why}"
