"""A node that pulls while its peers go wrong."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.faults.holder import NOTHING, Holder, Holdings, settled
from e2e.faults.outcome import Pull
from lab.errors import LabError, PullError

if TYPE_CHECKING:
    from pathlib import Path

    from lab.faults.host import FaultyHost
    from lab.images import Image

_THROWN_AWAY_SECONDS: Final = 2  # reference: 0 to 0.3 s, on a machine that does nothing else


@dataclass(frozen=True)
class Puller(Holder):
    """Whom the agent knows as a peer is said anew for each case."""

    peers_file: Path
    mortal: FaultyHost
    first: Holdings = NOTHING  # before anything went wrong

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

    async def drop_leases(self) -> None:
        """Let go of what killed pulls hold for a day: a containerd that was killed cannot."""
        for lease in (await self.node.containerd.ctr("leases", "list", "--quiet")).split():
            await self.node.containerd.ctr("leases", "delete", lease)

    async def is_as_at_first(self) -> bool:
        return await self.holds_no_more_than(self.first)

    async def _knows(self, count: int) -> bool:
        return (await self.agent.metrics()).total("registryd_peers") == count
