"""Letting go of what an agent keeps in containerd, when there is to be no agent any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.leases import Leases
from registryd.store.containerd.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


async def release_layers(socket: Path, namespaces: Sequence[str]) -> int:
    """End the agent's leases; returns their number. containerd then collects their content."""
    connection = ContainerdConnection(socket, Timing())
    try:
        return await Leases(connection, namespaces).release()
    finally:
        await connection.aclose()
