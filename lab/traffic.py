"""Who sent how much to whom, read off the agents' own counters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.agent import Agent


@dataclass(frozen=True)
class Traffic:
    """What every agent has sent to its peers and received from them so far, in bytes, in the order of the agents."""

    sent: tuple[int, ...]
    received: tuple[int, ...]

    def since(self, earlier: Traffic) -> Traffic:
        return Traffic(
            tuple(now - then for now, then in zip(self.sent, earlier.sent, strict=True)),
            tuple(now - then for now, then in zip(self.received, earlier.received, strict=True)),
        )


async def read_traffic(agents: Sequence[Agent]) -> Traffic:
    metrics = await asyncio.gather(*(agent.metrics() for agent in agents))
    return Traffic(
        tuple(int(reading.total("registryd_peer_sent_bytes_total")) for reading in metrics),
        tuple(int(reading.total("registryd_sent_bytes_total", source="peer")) for reading in metrics),
    )
