"""Peers listed in a file, which is watched: a change takes effect at once."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

from registryd.cluster.members.discovery.addresses import AddressListInvalid, parse_addresses
from registryd.cluster.members.discovery.contract import Discovery
from registryd.cluster.members.discovery.trouble import DiscoveryTrouble
from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from asyncinotify import Event

    from registryd.notation import Address

# The directory is watched, not the file: editors and configuration tools rename a new file over the old one, and a
# Kubernetes ConfigMap is a link to `..data/<file>`, where the link `..data` in the same directory is what is replaced.
_CHANGES: Final = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE

# For what inotify does not see: network file systems, a link that leads elsewhere, a directory that was made anew.
_REREAD_SECONDS: Final = 30.0

# From the removal of a file to the making of the next: microseconds in one program.
_TOGETHER_SECONDS: Final = 0.01
# Others may write to the folder without end.
_MOST_TOGETHER: Final = 1000

# A list of 5,000 peers has some 100 KB.
_MAX_BYTES: Final = 4 * 1024 * 1024


class FileDiscovery(Discovery):
    """The addresses in the file; while it is missing or invalid, the last valid ones."""

    def __init__(self, path: Path, *, reread_seconds: float = _REREAD_SECONDS) -> None:
        self._path = path
        self._reread_seconds = reread_seconds
        self._trouble = DiscoveryTrouble(str(path))

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        known: frozenset[Address] | None = None
        with Inotify(sync_timeout=0) as inotify:
            while True:
                # Watched before it is read: a change in between is seen as an event.
                self._watch_directory(inotify)
                found = self._read()
                if found is not None and found != known:
                    known = found
                    yield found
                await self._wait_for_change(inotify)

    def _read(self) -> frozenset[Address] | None:
        try:
            found = parse_addresses(read_plain(self._path, most_bytes=_MAX_BYTES).decode())
        except OSError as error:
            self._trouble.begins(f"cannot be read ({error.strerror})")
        except (AddressListInvalid, UnicodeDecodeError) as error:
            self._trouble.begins(str(error))
        else:
            self._trouble.is_over()
            return found
        return None

    def _watch_directory(self, inotify: Inotify) -> None:
        # Watching what is watched already changes nothing; a directory that is missing is tried again later.
        with suppress(OSError):
            inotify.add_watch(self._path.parent, _CHANGES)

    async def _wait_for_change(self, inotify: Inotify) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._reread_seconds):
                is_being_written = True
                while is_being_written:
                    own = [event for event in await _events(inotify) if event.path == self._path]
                    is_being_written = _begins_a_file(own[-1]) if own else False


async def _events(inotify: Inotify) -> list[Event]:
    """The next event, and those that come with it: who replaces a file removes one and makes another."""
    events = [await inotify.get()]
    await asyncio.sleep(_TOGETHER_SECONDS)
    while len(events) < _MOST_TOGETHER and (event := inotify.sync_get()):  # a `get` that is cancelled may lose events
        events.append(event)
    return events


def _begins_a_file(event: Event) -> bool:
    """Whether somebody has made a file and still writes to it, of which another event tells when it is closed.

    Part of a list is a list, too. A link to a file that is there already (it has two names) is whole at once.
    """
    if Mask.CREATE not in event.mask or event.path is None:
        return False
    try:
        status = event.path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
