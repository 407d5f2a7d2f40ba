"""An agent over a directory on a disk that has no room left."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from lab.agent import PEERS_PORT, running_agent
from lab.cluster import ORIGIN
from lab.commands import run
from lab.errors import CommandError
from lab.toml_text import to_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.faults.field import Field
    from lab.images import Image
    from lab.toml_text import Table

# Room for one of the field's images, of 6.2 MiB, and not for two.
_DISK: Final = "size=9m"


@dataclass(frozen=True)
class FullPeer:
    """A peer that has the third of the field's images, and was asked in vain to take the second."""

    address: str


@asynccontextmanager
async def full_directory_agent(field: Field) -> AsyncIterator[FullPeer]:
    """Started, filled until it refused, and still running."""
    home = field.cluster.folder / "full"
    home.mkdir()
    await run("mount", "-t", "tmpfs", "-o", _DISK, "tmpfs", str(home))
    try:
        host = await field.cluster.network.add_host("full")
        settings = _settings(home, host.ipv4)
        async with running_agent(settings, field.cluster.folder / "full-agent", namespace=host.namespace) as agent:
            await _import(agent.folder, settings, field.images[2])
            with pytest.raises(CommandError, match=r"(?i)no space|no room|full"):
                await _import(agent.folder, settings, field.images[1])
            yield FullPeer(f"{host.ipv4}:{PEERS_PORT}")
    finally:
        await run("umount", str(home))


async def _import(folder: Path, settings: Table, image: Image) -> None:
    config = folder / "import.toml"
    config.write_text(to_toml(settings))
    name = f"{ORIGIN}/faults/{image.tag}:{image.tag}"
    archive = str(image.archive())
    await run(sys.executable, "-m", "registryd", "import", archive, "--name", name, "--config", str(config))


def _settings(home: Path, address: str) -> Table:
    return {
        "store": {"kind": "directory", "directory": str(home / "store")},
        "peers": {"advertise": address, "insecure": True},
    }
