"""Being told by the kernel that an open file or a folder has changed: one inotify instance for all waiting tasks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncinotify import Watch

_log = logging.getLogger(__name__)

# Written to, renamed, or its status changed: a link less is how a removed file shows.
_CHANGES: Final = Mask.MODIFY | Mask.ATTRIB | Mask.MOVE_SELF
# Changes of the names in a folder; not writes to its files.
_ENTRIES: Final = Mask.CREATE | Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.ONLYDIR
# How often to look where the kernel cannot tell: often enough for a follower not to lag, a few µs each.
_LOOK_SECONDS: Final = 0.05


class Changes(Protocol):
    """The changes of one file."""

    async def wait(self) -> None:
        """Return when something may have changed since the last return, or since the watch began."""

    def tell(self) -> None:
        """Say that something has changed, as the kernel does."""


class FileEvents:
    """Watches files for as long as a task waits for them, and holds nothing when no task does.

    A user may have 128 inotify instances, which all of a node's daemons share, so this is one, for the loop that it is
    used in; a file has one watch, however many wait for it. A file that is written to a hundred times while its
    waiter is busy wakes it once.
    """

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._watched: dict[int, SharedWatch] = {}

    @contextmanager
    def watching(self, fd: int) -> Iterator[Changes]:
        """Watch the open file, by whatever name, until the block ends; looks at intervals if inotify is exhausted."""
        changes = Waiter()
        try:
            # The inode itself: the file may be renamed while it is watched, or may have been already.
            watched = self._add(f"/proc/self/fd/{fd}", _CHANGES, changes)
        except OSError as error:
            _log.debug("no inotify, looking every %g s: %s", _LOOK_SECONDS, error)
            yield _Looking()
            return
        try:
            yield changes
        finally:
            self._remove(watched, changes)

    def watch_folder(self, path: Path, told: Waiter) -> SharedWatch:
        """Tell of names that come and go in the folder that is there now, until `unwatch`; once, for each `told`.

        Raises OSError. The end of the folder is told, too, and is the last that is.
        """
        return self._add(str(path), _ENTRIES, told)

    def unwatch(self, watched: SharedWatch, told: Waiter) -> None:
        self._remove(watched, told)

    def _add(self, path: str, mask: Mask, changes: Waiter) -> SharedWatch:
        inotify = self._inotify or self._open()
        try:
            watch = inotify.add_watch(path, mask)
            watched = self._watched.setdefault(watch.wd, SharedWatch(watch))
            watched.waiting.add(changes)
        finally:
            self._close_if_idle()
        return watched

    def _remove(self, watched: SharedWatch, changes: Waiter) -> None:
        watched.waiting.remove(changes)
        if not watched.waiting:
            del self._watched[watched.watch.wd]
            self._unwatch(watched.watch)
        self._close_if_idle()

    def _unwatch(self, watch: Watch) -> None:
        # The kernel has ended the watch itself if its file system is gone.
        with suppress(OSError):
            if self._inotify is not None:
                self._inotify.rm_watch(watch)

    def _open(self) -> Inotify:
        self._inotify = Inotify(sync_timeout=0)
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._tell)
        return self._inotify

    def _close_if_idle(self) -> None:
        if self._inotify is not None and not self._watched:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _tell(self) -> None:
        for event in self._inotify or ():
            if event.watch is None:  # the kernel's queue ran over: anything may have changed
                told = list(self._watched.values())
            else:
                told = [watched] if (watched := self._watched.get(event.watch.wd)) else []
            for each in told:
                each.tell()


class Waiter:
    """A waiting task, for one file or for several; if it was told before, it does not wait."""

    def __init__(self) -> None:
        self._is_told = asyncio.Event()

    async def wait(self) -> None:
        await self._is_told.wait()
        self._is_told.clear()

    def tell(self) -> None:
        self._is_told.set()


@dataclass(frozen=True, slots=True)
class SharedWatch:
    """A watch, and all tasks that wait for it."""

    watch: Watch
    waiting: set[Waiter] = field(default_factory=set)

    def tell(self) -> None:
        for changes in self.waiting:
            changes.tell()


class _Looking(Waiter):
    """Says that the file may have changed, at intervals too."""

    async def wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await super().wait()
