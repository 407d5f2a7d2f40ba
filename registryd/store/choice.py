"""The store that the settings ask for, and when that becomes another one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.file_events import FileEvents
from registryd.aio.folder_events import FolderEvents
from registryd.config.agent import StoreKind
from registryd.content.member_store import MemberStore
from registryd.store.socket import KNOWN_SOCKETS, is_containerd_at, is_listened_at, socket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable
    from pathlib import Path

    from registryd.config.agent import StoreSettings
    from registryd.content.description import StoreDescription
    from registryd.content.elsewhere import Newcomers
    from registryd.content.growing import OngoingIngest
    from registryd.content.keepable import ImageHere
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName
    from registryd.store.containerd.pulling import PullSecret


# A socket is seen when it has its name, and is listened at some microseconds later.
_SETTLE_SECONDS: Final = 0.1


class PullsInto(Protocol):
    """Images that can be kept (`registryd.content.keepable.Keepable`), and pulled with a login."""

    async def images(self) -> Collection[ImageHere]: ...

    async def wait_changed(self) -> None: ...

    async def size_of(self, name: FullName) -> int | None: ...

    async def kept(self) -> Collection[FullName]: ...

    async def keep(self, name: FullName) -> bool: ...

    async def let_go(self, name: FullName) -> None: ...

    async def pull(self, name: FullName, secret: PullSecret | None) -> None: ...

    def has_room(self, size: int, *, most_used: float) -> bool: ...


class NodeStore(MemberStore, Protocol):
    """The parts of a node's store that an agent needs."""

    async def withdraw(self, digest: Digest) -> None:
        """Take a copy that is not what its digest says out of the way, where the store is ours to change.

        Raises StoreUnavailable.
        """

    def would_have(self, content: Content) -> bool:
        """Whether this content would be here now, if containerd had got it from this agent and it was right.

        So it is not if containerd has it for a namespace that is not shared or has no room, nor in a store that
        containerd does not write to.
        """

    def ingest_of(self, digest: Digest) -> OngoingIngest | None:
        """What containerd is receiving of this content now; None where it receives none, or that cannot be seen."""

    @property
    def keepable(self) -> PullsInto | None:
        """The store's images as keepable ones, where the store is a containerd."""

    @property
    def newcomers(self) -> Newcomers | None:
        """New content that other programs write into the store, where they do."""

    async def describe(self) -> StoreDescription:
        """A description of the store and its content, from memory. Raises StoreUnavailable."""

    def count_images(self) -> int:
        """How many images are here by their digests, as far as is known."""

    async def check(self) -> None:
        """Return if it can answer right now; raises StoreUnavailable with the reason otherwise."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A store: `kind` is not AUTO, and `socket` is where containerd is, or would be. `is_used`: one was there."""

    kind: StoreKind
    socket: Path
    is_used: bool = False


@dataclass(frozen=True, slots=True)
class Choosing:
    """The store that the settings mean on this machine, as the machine is now and as it becomes.

    Args:
        recorded: The socket of the containerd that `registryd install` has set up; None: it has set up none.
        is_for_containerd: Whether there is another sign that this node has a containerd, though it may not run yet.
        known: Paths of sockets at which a containerd may be.
    """

    settings: StoreSettings
    recorded: Path | None = None
    is_for_containerd: bool = False
    known: tuple[Path, ...] = KNOWN_SOCKETS

    def now(self) -> Choice:
        """`auto` is containerd where there is any sign of one."""
        settings = self.settings
        socket = socket_of(settings, recorded=self.recorded, known=self.known)
        is_signed = bool(settings.containerd_socket or self.recorded) or self.is_for_containerd
        is_there = is_signed or is_containerd_at(socket)
        guess = StoreKind.CONTAINERD if is_there else StoreKind.DIRECTORY
        kind = guess if settings.kind is StoreKind.AUTO else settings.kind
        return Choice(kind, socket, kind is StoreKind.CONTAINERD and is_listened_at(socket))

    async def wait_other(self, choice: Choice) -> None:
        """Return when another store would be chosen: a containerd has come, perhaps unexpectedly.

        One that was there is stayed with, also while it is away: another may be Docker's.
        """
        if self._is_settled or choice.is_used:
            await asyncio.Event().wait()
        folders = FolderEvents(FileEvents())
        try:
            while True:
                folders.follow(_folders_above(self.known))
                if self._is_other(choice):
                    return
                await folders.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
        finally:
            folders.close()

    @property
    def _is_settled(self) -> bool:
        settings = self.settings
        return bool(settings.containerd_socket or self.recorded) or settings.kind is StoreKind.DIRECTORY

    def _is_other(self, choice: Choice) -> bool:
        now = self.now()
        return now.kind is StoreKind.CONTAINERD and (now.kind, now.socket) != (choice.kind, choice.socket)


def _folders_above(sockets: Iterable[Path]) -> set[Path]:
    """The nearest existing folder above each socket. The socket, or the folder that it will be in, appears there."""
    return {next(folder for folder in socket.parents if folder.is_dir()) for socket in sockets}


@asynccontextmanager
async def open_store(settings: StoreSettings, choice: Choice, *, search_seconds: float) -> AsyncIterator[NodeStore]:
    """The store for the length of the block; only what it needs is imported.

    `search_seconds`: how long a whole search for content may take, of which this store is a part. containerd may be
    away and is not waited for. Raises StoreUnavailable for a directory that cannot be used.
    """
    if choice.kind is StoreKind.CONTAINERD:
        from registryd.store.containerd.connect import connect_containerd_store  # noqa: PLC0415
        from registryd.store.containerd.timing import Timing  # noqa: PLC0415

        chosen, timing = replace(settings, containerd_socket=choice.socket), Timing.within(search_seconds)
        async with connect_containerd_store(chosen, timing=timing) as containerd:
            yield containerd
    else:
        from registryd.store.directory.store import open_directory_store  # noqa: PLC0415

        async with open_directory_store(settings.directory) as directory:
            yield directory
