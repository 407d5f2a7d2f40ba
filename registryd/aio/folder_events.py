"""Being told that names have come or gone in any of several folders, which may come and go themselves."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.aio.file_events import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from registryd.aio.file_events import FileEvents, SharedWatch

_log = logging.getLogger(__name__)

# How often to look where the kernel does not tell. Listing 10,000 names takes milliseconds, in a thread.
_LOOK_SECONDS: Final = 10.0


class FolderEvents:
    """Changes of folders, for a task that lists folders, and lists them again after a change."""

    def __init__(self, events: FileEvents) -> None:
        self._events = events
        self._told = Waiter()
        self._watched: dict[Path, SharedWatch] = {}
        self._look: asyncio.TimerHandle | None = None

    def follow(self, folders: Iterable[Path]) -> bool:
        """These are to be listed now; whether all that changes in them from now on will be told at once.

        Costs a few microseconds for each; a folder that took the place of another is noticed.
        """
        before, self._watched = self._watched, {}
        wanted = list(folders)
        for folder in wanted:
            try:
                self._watched[folder] = self._events.watch_folder(folder, self._told)
            except OSError as error:
                _log.debug("%s is looked at every %g s: %s", folder, _LOOK_SECONDS, error)
        kept = {id(watched) for watched in self._watched.values()}
        for watched in before.values():
            if id(watched) not in kept:
                self._events.unwatch(watched, self._told)
        is_told = len(self._watched) == len(wanted)
        self._look_later(is_needed=not is_told)
        return is_told

    async def wait(self) -> None:
        """Return when something may have changed since the last return."""
        await self._told.wait()

    def tell(self) -> None:
        """Say that something has changed."""
        self._told.tell()

    def close(self) -> None:
        """Watch nothing any more."""
        self.follow(())

    def _look_later(self, *, is_needed: bool) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if is_needed:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self.tell)
