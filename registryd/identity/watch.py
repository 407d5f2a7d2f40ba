"""Noticing that files changed, however they are replaced.

Written in place, renamed over, or behind a symbolic link that points elsewhere from now on, as Kubernetes swaps the
files of a Secret.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

from registryd.identity.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

_log = logging.getLogger(__name__)

# The kernel tells of changes at once. This often is looked without being told: for file systems that don't tell
# (NFS, FUSE), and for what depends on the clock. A minute is nothing beside a certificate's life, and costs nothing.
_LOOK_EVERY_SECONDS: Final = 60.0
# Between being told and looking, so that files which are replaced one after the other are read when all are.
_SETTLE_SECONDS: Final = 0.1
_CHANGES: Final = (
    Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.ATTRIB | Mask.DELETE_SELF
)


async def follow(paths: Sequence[Path], load: Callable[[], object]) -> None:
    """Load the files again when they change, and once a minute, until cancelled.

    It is called in a thread: what it makes of the files may take a while. What it has to complain of is logged once.
    """
    complaint = ""
    async with aclosing(looks_at(paths)) as looks:
        async for _ in looks:
            try:
                await asyncio.to_thread(load)
                complaint = ""
            except IdentityError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _log.warning("the changed files cannot be loaded, and the earlier ones stay in use: %s", complaint)


async def looks_at(
    paths: Sequence[Path], *, every: float = _LOOK_EVERY_SECONDS, settle: float = _SETTLE_SECONDS
) -> AsyncGenerator[None, None]:
    """Yield at once, and whenever the files may have changed since, or `every` seconds have passed.

    What happens while the caller looks at them is noticed: the watches stand before each yield. May yield although
    nothing changed.
    """
    while True:
        with _watching(paths) as inotify:
            yield
            await _wait_event(inotify, seconds=every)
            await asyncio.sleep(settle)


@contextmanager
def _watching(paths: Sequence[Path]) -> Iterator[Inotify | None]:
    try:
        inotify = Inotify()
    except OSError as error:
        _log.debug("no inotify, looking every minute: %s", error)
        yield None
        return
    with inotify:
        for directory in {directory for path in paths for directory in directories_of(path)}:
            _watch(inotify, directory)
        yield inotify


def _watch(inotify: Inotify, directory: Path) -> None:
    try:
        inotify.add_watch(directory, _CHANGES | Mask.ONLYDIR)
    except OSError as error:
        _log.debug("cannot watch %s: %s", directory, error)


def directories_of(path: Path) -> set[Path]:
    """The directories in which an entry has to change for the path to mean another file."""
    found, seen, todo = set[Path](), set[Path](), [path.absolute()]
    while todo:
        current = todo.pop()
        found.add(current.parent)
        links = {part for part in (current, *current.parents) if part.is_symlink()} - seen
        seen |= links
        for link in links:
            found.add(link.parent)
            todo.append(link.parent / link.readlink())
    return found


async def _wait_event(inotify: Inotify | None, *, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await (inotify.get() if inotify else asyncio.Event().wait())
    except TimeoutError:
        return
