"""The intended state of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.hosts_entry import MirrorEntry
    from registryd.oci.reference import Registry


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The file with the node's token, made by the set-up if it is not there; for its owner only."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Intent:
    """The operator's wishes.

    Args:
        next_entries: Caches that containerd asks after the agent and before all other hosts.
        registries: The mirrored registries; none: all.
        token: Written if the file does not exist.
        config_path: Where the folders of registries shall be; None: where containerd looks now.
        owner: User and group of files that are made or get a secret.
    """

    entry: MirrorEntry
    next_entries: tuple[MirrorEntry, ...] = ()
    registries: tuple[Registry, ...] = ()
    token: TokenFile | None = None
    config_path: Path | None = None
    owner: tuple[int, int] = (0, 0)

    @property
    def entries(self) -> tuple[MirrorEntry, ...]:
        """All hosts of registryd's entry, in order."""
        return (self.entry, *self.next_entries)


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file as it shall be, and why; `ours` as in the record."""

    path: Path
    data: bytes
    why: str
    ours: str
    is_secret: bool = False
