"""Peers listed in a file, which is watched: a change takes effect at once."""

from __future__ import annotations

import asyncio
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

    from registryd.notation import Address

# The directory is watched, not the file: editors and configuration tools rename a new file over the old one, and a
# Kubernetes ConfigMap is a link to `..data/<file>`, where the link `..data` in the same directory is what is replaced.
_CHANGES: Final = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE

# For what inotify does not see: network file systems, a link that leads elsewhere, a directory that was made anew.
_REREAD_SECONDS: Final = 30.0

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
        with Inotify() as inotify:
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
                await inotify.get()
