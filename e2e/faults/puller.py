"""A node that pulls while its peers go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.faults.outcome import Pull
from lab.errors import LabError, PullError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from lab.agent import Agent
    from lab.cluster import Node
    from lab.faults.host import FaultyHost
    from lab.images import Image

_SETTLE_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.05
_GRPC_KEEPS: Final = 4
_FROM_OTHERS: Final = "from others: "
# States of /proc/net/tcp.
_ESTABLISHED: Final = "01"
_LISTEN: Final = "0A"
_THROWN_AWAY_SECONDS: Final = 2  # reference: 0 to 0.3 s, on a machine that does nothing else


@dataclass(frozen=True)
class Holdings:
    """What an agent's process holds."""

    descriptors: int
    tasks: int


@dataclass(frozen=True)
class Puller:
    """A real containerd and its agent; whom the agent knows as a peer is said anew for each case."""

    name: str
    node: Node
    peers_file: Path
    mortal: FaultyHost
    first: Holdings = Holdings(0, 0)  # before anything went wrong

    @property
    def agent(self) -> Agent:
        assert self.node.agent
        return self.node.agent

    async def know(self, *peers: str) -> None:
        """Let discovery name these and nobody else, and wait until the agent has taken note of them."""
        self.list_peers(*peers)
        await settled(lambda: self._knows(len(peers)), f"{self.name} does not take note of its peers")

    def list_peers(self, *peers: str) -> None:
        """Let discovery name these and nobody else, from now or a moment later on."""
        arriving = self.peers_file.with_name(".arriving")
        arriving.write_text("\n".join(peers) + "\n")
        arriving.rename(self.peers_file)

    async def pull(self, reference: str, *, tries: int, timeout: float) -> Pull:
        """Pull, and again after a failure; raises the last PullError when no try succeeded.

        A kubelet waits ten seconds before it tries again; here it is until containerd has thrown away what it knows to
        be wrong, because before that it would only come to the same verdict again, and until it answers.
        """
        began = time.monotonic()
        for number in range(1, tries):
            try:
                await self.node.pull(reference, timeout=timeout)
            except PullError as error:
                print(f"{self.name}, try {number}: {error}")
                await self.wait_thrown_away()
                await settled(self.node.containerd.images.is_ready, "containerd does not answer any more")
            else:
                return Pull(time.monotonic() - began, number)
        await self.node.pull(reference, timeout=timeout)
        return Pull(time.monotonic() - began, tries)

    async def wait_thrown_away(self) -> None:
        """After a failed pull, until containerd has thrown away what it knows to be wrong: at once, when told to."""

        async def has_no_ingest() -> bool:
            return not self.ingests()

        with contextlib.suppress(LabError):  # it may be starting
            await self.node.containerd.collect_garbage()
        with contextlib.suppress(LabError):  # what is right as far as it goes is kept, and gone on with
            await settled(has_no_ingest, "it keeps what it has", seconds=_THROWN_AWAY_SECONDS)

    async def forget(self, reference: str, image: Image) -> None:
        """Remove the image, so that the next pull of it is a whole one."""
        await self.node.remove(reference, *(blob.digest for blob in (*image.blobs, *image.documents)))

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

    async def is_as_at_first(self) -> bool:
        """Whether the agent holds no more than it did; gRPC keeps a handful of descriptors of its own."""
        now = await self.holdings()
        return now.tasks <= self.first.tasks and now.descriptors <= self.first.descriptors + _GRPC_KEEPS

    async def hang_up(self) -> None:
        """Close containerd's idle connections to the agent, by restarting it: each is a descriptor and a task."""
        await self.node.containerd.restart()
        await self.agent.process.wait_ready(self.agent.is_ready)

    async def drop_leases(self) -> None:
        """Let go of what killed pulls hold for a day: a containerd that was killed cannot."""
        for lease in (await self.node.containerd.ctr("leases", "list", "--quiet")).split():
            await self.node.containerd.ctr("leases", "delete", lease)

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

    async def _knows(self, count: int) -> bool:
        return (await self.agent.metrics()).total("registryd_peers") == count


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
