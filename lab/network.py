"""Hosts on one Ethernet: namespaces with a veth pair each, joined by a bridge in a namespace of its own.

Nothing of it touches the machine's own network: the addresses exist only inside, and there is no way out.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import require, run
from lab.congestion import choose_for
from lab.leftovers import sweep
from lab.namespaces import Namespace, new_namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_BURST_SECONDS = 0.01  # what a token bucket may send at once; ten milliseconds look like a steady rate to TCP
_MIN_BURST_BYTES = 65536  # the largest segment that the kernel hands down in one piece
_IPV6 = Path("/proc/net/if_inet6").exists()


@dataclass(frozen=True)
class Host:
    """One machine of the lab: its namespace, its addresses, and the bridge port at the other end of its cable."""

    name: str
    namespace: Namespace
    bridge: Namespace
    port: str
    ipv4: str
    ipv6: str  # empty where the kernel has no IPv6

    async def limit(self, megabits: float) -> None:
        """Let its link carry so many megabits a second each way."""
        for namespace, link in self._ends():
            await _limit(namespace, link, megabits)

    async def unlimit(self) -> None:
        for namespace, link in self._ends():
            await run("tc", "-n", namespace.name, "qdisc", "delete", "dev", link, "root")

    async def unplug(self) -> None:
        """Pull the cable: packets vanish in silence, nothing is refused."""
        await run("ip", "-n", self.bridge.name, "link", "set", self.port, "down")

    async def plug_in(self) -> None:
        await run("ip", "-n", self.bridge.name, "link", "set", self.port, "up")

    def _ends(self) -> tuple[tuple[Namespace, str], ...]:
        return (self.namespace, "eth0"), (self.bridge, self.port)


@dataclass
class Network:
    """The bridge. Hosts that are added live as long as it does."""

    bridge: Namespace
    _stack: contextlib.AsyncExitStack
    _hosts: list[Host] = field(default_factory=list)

    async def add_host(self, label: str) -> Host:
        """A new namespace on the bridge. Its addresses end with its number: 10.77.0.1 and fd77::1, and so on."""
        namespace = await self._stack.enter_async_context(new_namespace(label))
        number = len(self._hosts) + 1
        ipv6 = f"fd77::{number:x}" if _IPV6 else ""
        ipv4 = f"10.77.{number >> 8}.{number & 255}"
        host = Host(label, namespace, self.bridge, f"port{number}", ipv4, ipv6)
        self._hosts.append(host)
        await _connect(host)
        return host


@dataclass(frozen=True)
class Trunk:
    """The one cable between two Ethernets."""

    bridge: Namespace
    ends: tuple[str, str]

    async def carried(self) -> tuple[int, int]:
        """Bytes each way since it was laid: to those that were set apart, and from them."""
        said = json.loads(await run("ip", "-n", self.bridge.name, "-s", "-j", "link", "show", "dev", self.ends[0]))
        return int(said[0]["stats64"]["tx"]["bytes"]), int(said[0]["stats64"]["rx"]["bytes"])


@contextlib.asynccontextmanager
async def set_apart(hosts: Sequence[Host], *, megabits: float) -> AsyncIterator[Trunk]:
    """Put hosts on an Ethernet of their own, joined to the others' by a cable that carries so much each way."""
    bridge = hosts[0].bridge
    trunk = Trunk(bridge, ("trunk0", "trunk1"))
    lines = ["link add apart type bridge forward_delay 0", "link set apart up", "link add trunk0 type veth peer trunk1"]
    lines += [f"link set {end} master {master}" for end, master in zip(trunk.ends, ("bridge", "apart"), strict=True)]
    lines += [f"link set {end} up" for end in trunk.ends]
    try:
        await run("ip", "-n", bridge.name, "-batch", "-", stdin="\n".join(lines))
        for end in trunk.ends:
            await _limit(bridge, end, megabits)
        await _move(hosts, "apart")
        yield trunk
    finally:
        await _move(hosts, "bridge")
        for link in ("trunk0", "apart"):
            await run("ip", "-n", bridge.name, "link", "delete", link)


@contextlib.asynccontextmanager
async def cut_off(hosts: Sequence[Host]) -> AsyncIterator[None]:
    """Meanwhile these hosts reach each other and nobody else: packets to the others vanish in silence."""
    bridge = hosts[0].bridge
    lines = ["link add island type bridge forward_delay 0", "link set island up"]
    try:
        await run("ip", "-n", bridge.name, "-batch", "-", stdin="\n".join(lines))
        await _move(hosts, "island")
        yield
    finally:
        await _move(hosts, "bridge")
        await run("ip", "-n", bridge.name, "link", "delete", "island")


async def _move(hosts: Sequence[Host], master: str) -> None:
    for host in hosts:
        await run("ip", "-n", host.bridge.name, "link", "set", host.port, "master", master)


async def _limit(namespace: Namespace, link: str, megabits: float) -> None:
    bits = int(megabits * 1_000_000)
    burst = max(_MIN_BURST_BYTES, int(bits / 8 * _BURST_SECONDS))
    bucket = f"root tbf rate {bits}bit burst {burst}b latency 50ms".split()
    await run("tc", "-n", namespace.name, "qdisc", "replace", "dev", link, *bucket)


@contextlib.asynccontextmanager
async def new_network() -> AsyncIterator[Network]:
    """An empty network. Sweeps first what dead runs left behind."""
    require("tc", package="iproute2")
    await sweep()
    async with contextlib.AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(new_namespace("bridge"))
        await run("ip", "-n", bridge.name, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        await run("ip", "-n", bridge.name, "link", "set", "bridge", "up")
        yield Network(bridge, stack)


async def _connect(host: Host) -> None:
    inside = [f"link add eth0 type veth peer name {host.port} netns {host.bridge.name}", "link set eth0 up"]
    inside.append(f"address add {host.ipv4}/16 dev eth0")
    if host.ipv6:  # usable at once: nobody else has it, so no wait for duplicate address detection
        inside.append(f"address add {host.ipv6}/64 dev eth0 nodad")
        inside += choose_for("fd77::/64 dev eth0 proto kernel metric 256 pref medium")
    inside += choose_for(f"10.77.0.0/16 dev eth0 proto kernel scope link src {host.ipv4}")
    bridge = [f"link set {host.port} master bridge", f"link set {host.port} up"]
    await run("ip", "-n", host.namespace.name, "-batch", "-", stdin="\n".join(inside))
    await run("ip", "-n", host.bridge.name, "-batch", "-", stdin="\n".join(bridge))
