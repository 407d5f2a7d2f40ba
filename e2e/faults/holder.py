"""What a node holds: descriptors and tasks of its agent, and what its containerd is receiving."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from lab.agent import Agent
    from lab.cluster import Node

_SETTLE_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.05
_GRPC_KEEPS: Final = 4
_FROM_OTHERS: Final = "from others: "
# States of /proc/net/tcp.
_ESTABLISHED: Final = "01"
_LISTEN: Final = "0A"


@dataclass(frozen=True)
class Holdings:
    """What an agent's process holds."""

    descriptors: int
    tasks: int


NOTHING: Final = Holdings(0, 0)


@dataclass(frozen=True)
class Holder:
    """A real containerd and its agent."""

    name: str
    node: Node

    @property
    def agent(self) -> Agent:
        assert self.node.agent
        return self.node.agent

    async def holdings(self) -> Holdings:
        """What its agent holds now; a connection that another made is that one's to close, and not counted."""
        metrics = await self.agent.metrics()
        own = [each for each in self.descriptors() if not each.startswith(_FROM_OTHERS)]
        return Holdings(len(own), int(metrics.total("registryd_tasks")))

    def descriptors(self) -> list[str]:
        """What its agent's descriptors are, for the report of a leak; of connections, between whom and how they are."""
        process = Path(f"/proc/{self.agent.process.pid}")
        connections = dict(_connections(process))
        found = []
        for entry in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                target = str(entry.readlink())
                found.append(connections.get(target, target))
        return sorted(found)

    async def holds_no_more_than(self, first: Holdings) -> bool:
        """Whether the agent holds no more than that; gRPC keeps a handful of descriptors of its own."""
        now = await self.holdings()
        return now.tasks <= first.tasks and now.descriptors <= first.descriptors + _GRPC_KEEPS

    async def hang_up(self) -> None:
        """Close containerd's idle connections to the agent, by restarting it: each is a descriptor and a task."""
        await self.node.containerd.restart()
        await self.agent.process.wait_ready(self.agent.is_ready)

    def ingests(self) -> dict[str, int]:
        """What containerd has begun to receive and neither finished nor thrown away: bytes on its disk, by ingest."""
        found = {}
        for path in self._ingest_folder.glob("*/data"):
            with contextlib.suppress(FileNotFoundError):  # finished or thrown away meanwhile
                found[path.parent.name] = path.stat().st_size
        return found

    @property
    def _ingest_folder(self) -> Path:
        return self.node.containerd.places.root / "io.containerd.content.v1.content" / "ingest"


def _connections(process: Path) -> Iterator[tuple[str, str]]:
    """What a descriptor of a connection links to, and the kernel's line for it: addresses and state, in hexadecimal.

    See proc(5). Whoever made a connection is known by the port that is listened on.
    """
    for kind in ("tcp", "tcp6"):
        lines = [line.split() for line in (process / "net" / kind).read_text().splitlines()[1:]]
        listening = {_port(fields[1]) for fields in lines if fields[3] == _LISTEN}
        for fields in lines:
            _, local, remote, state, *_ = fields
            is_from_others = state == _ESTABLISHED and _port(local) in listening
            told = f"{_FROM_OTHERS if is_from_others else ''}{kind} {local} {remote} {state}"
            yield f"socket:[{fields[9]}]", told


def _port(address: str) -> str:
    return address.rpartition(":")[2]


async def settled(
    condition: Callable[[], Awaitable[bool]], complaint: str, *, seconds: float = _SETTLE_SECONDS
) -> None:
    """Wait for something that nobody announces; LabError when it does not come."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - nobody has an event for it
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise LabError(complaint) from error
