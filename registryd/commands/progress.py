"""How far a list of images has come, on a terminal; where nobody watches, nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from registryd.inventory.lists import ImageName


class Done(Protocol):
    """What became of an image."""

    @property
    def image(self) -> ImageName: ...

    @property
    def is_complete(self) -> bool: ...


class ShownProgress:
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


@contextmanager
def showing_progress(doing: str, total: int, *, quiet: bool) -> Iterator[ShownProgress]:
    """Progress on standard error for the length of the block."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[size]}"))
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        yield ShownProgress(bar, bar.add_task(doing, total=total, size=""))
