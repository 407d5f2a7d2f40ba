"""What the lab downloads or builds once on a machine and then keeps, whichever processes want it at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_CHECKOUT = Path(__file__).parents[1]
_POLL_SECONDS = 0.1


async def keep(target: Path, make: Callable[[Path], Awaitable[Path]]) -> Path:
    """Return `target`, a folder. If it is not there, `make` is called, by one process at a time.

    Args:
        target: Where the folder stays; delete it to get a new one.
        make: Gets an empty folder for its work, which is removed afterwards whatever happens; returns the folder
            below it that becomes `target`. What it raises is raised here, and the next caller tries again.

    Raises UnavailableError where nothing can be written.
    """
    try:
        if not _is_here(target):
            async with _locked(target.with_name(f"{target.name}.lock")):
                if not _is_here(target):  # it may have come while this process waited
                    async with _working_folder(target.with_name(f"{target.name}.making")) as work:
                        (await make(work)).rename(target)
    except OSError as error:
        raise UnavailableError(f"{target} cannot be made: {error.strerror or error}") from error
    return target


def cache_folder(kind: str) -> Path:
    """The checkout's .cache/<kind>; below the user's cache where there is no checkout."""
    if (_CHECKOUT / "pyproject.toml").is_file():
        return _CHECKOUT / ".cache" / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registryd" / kind


def _is_here(folder: Path) -> bool:
    return folder.is_dir()


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """For one process at a time. The kernel unlocks when the process is gone, so the file itself may stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        # Not a thread that waits in flock: it could not be cancelled.
        while not _is_taken(file.fileno()):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(_POLL_SECONDS)
        yield


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def _working_folder(path: Path) -> AsyncIterator[Path]:
    _make_empty(path)
    try:
        yield path
    finally:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    folder.mkdir()
