"""A node that pulls while its peers go wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.faults.outcome import Pull
from registryd.lab.errors import LabError, PullError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from registryd.lab.agent import Agent
    from registryd.lab.cluster import Node
    from registryd.lab.faults.host import FaultyHost
    from registryd.lab.images import Image

_SETTLE_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Puller:
    """A real containerd and its agent; whom the agent knows as a peer is said anew for each case."""

    name: str
    node: Node
    peers_file: Path
    mortal: FaultyHost

    @property
    def agent(self) -> Agent:
        assert self.node.agent
        return self.node.agent

    async def know(self, *peers: str) -> None:
        """Let discovery name these and nobody else, and wait until the agent has taken note of them."""
        arriving = self.peers_file.with_name(".arriving")
        arriving.write_text("\n".join(peers) + "\n")
        arriving.rename(self.peers_file)
        await settled(lambda: self._knows(len(peers)), f"{self.name} does not take note of its peers")

    async def pull(self, reference: str, *, tries: int, timeout: float) -> Pull:
        """Pull, and again after a failure; raises the last PullError when no try succeeded.

        A kubelet waits ten seconds before it tries again. Here it is until containerd has thrown away what it knows to
        be wrong, which takes it up to a second: before that it would only come to the same verdict again.
        """
        began = time.monotonic()
        for number in range(1, tries):
            try:
                await self.node.pull(reference, timeout=timeout)
            except PullError as error:
                print(f"{self.name}, try {number}: {error}")
                await settled(self._has_no_ingest, f"{self.name} keeps what failed")
            else:
                return Pull(time.monotonic() - began, number)
        await self.node.pull(reference, timeout=timeout)
        return Pull(time.monotonic() - began, tries)

    async def forget(self, reference: str, image: Image) -> None:
        """Remove the image, so that the next pull of it is a whole one."""
        await self.node.remove(reference, *(blob.digest for blob in (*image.blobs, *image.documents)))

    def ingests(self) -> list[str]:
        """What containerd has begun to receive and neither finished nor thrown away."""
        folder = self.node.containerd.places.root / "io.containerd.content.v1.content" / "ingest"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    async def _has_no_ingest(self) -> bool:
        return not self.ingests()

    async def _knows(self, count: int) -> bool:
        return (await self.agent.metrics()).total("registryd_peers") == count


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
