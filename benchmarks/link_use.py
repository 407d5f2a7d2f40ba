"""What each link of a cluster carries while something goes on, and how busy the processors are."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import run

if TYPE_CHECKING:
    from typing import NoReturn

    from lab.cluster import Cluster

_PAUSE_SECONDS = 0.5
_IDLE_COLUMNS = slice(3, 5)  # of /proc/stat: idle, waiting for a disk


async def print_link_use(cluster: Cluster) -> NoReturn:
    """Print MB a second from the origin, and to and from each node, until cancelled."""
    ports = [cluster.origin_host.port, *(node.host.port for node in cluster.nodes)]
    begun = before_at = time.monotonic()
    before, spent = await carried(cluster), _processor()
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        now, after, total = time.monotonic(), await carried(cluster), _processor()
        origin, *nodes = [
            tuple(count / (now - before_at) / 1e6 for count in map(int.__sub__, after[port], before[port]))
            for port in ports
        ]
        shares = [late - early for early, late in zip(spent, total, strict=True)]
        busy = 1 - sum(shares[_IDLE_COLUMNS]) / max(1, sum(shares))
        links = "  ".join(f"{down:4.1f} {up:4.1f}" for up, down in nodes)
        print(f"{now - begun:6.2f} s: {origin[0]:4.1f} | {links} | {busy:4.0%} busy", flush=True)
        before, before_at, spent = after, now, total


async def carried(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Count the bytes that came from behind each port of the bridge, and that went there."""
    links = json.loads(await run("ip", "-n", cluster.origin_host.bridge.name, "-s", "-j", "link"))
    return {each["ifname"]: (each["stats64"]["rx"]["bytes"], each["stats64"]["tx"]["bytes"]) for each in links}


def _processor() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
