"""A large layer that several nodes have, on a node whose link is faster than theirs: this build, and another beside it.

    python -m benchmarks.holders [--holders 5] [--megabytes 200 1000] [--megabits 200] [--own-megabits 1000]
                                 [--runs 3] [--transport tls plain insecure] [--beside FOLDER]
                                 [--slow SHARE] [--stall]

Agents in namespaces of their own with a link each, a directory as store. The node is asked for the layer as by
containerd, by a client that hashes what it gets; builds take turns. `FOLDER` is a checkout of another version.
`--slow` gives the first holder only this share of its bandwidth, `--stall` unplugs it in the middle.
Prints a table in Markdown; times are medians. "sent" is what the holders have handed to their connections, "memory"
the most that the node's agent had resident.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import make_secret
from benchmarks.contestants import write_blob
from benchmarks.downloads import Url
from lab.agent import AGENT, PEERS_PORT, Agent
from lab.errors import NotReadyError
from lab.network import new_network

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from lab.network import Host
    from lab.toml_text import Table

_MB: Final = 1_000_000
_BUFFER: Final = 1 << 20
_ACQUAINTED_SECONDS: Final = 90.0
_TIMEOUT: Final = 600.0


@dataclass(frozen=True)
class Run:
    seconds: float
    sent: int
    memory: int
    processor: float


@dataclass(frozen=True)
class Site:
    """The node and the holders, of one build."""

    host: Host
    agent: Agent
    holders: tuple[tuple[Host, Agent], ...]

    async def sent(self) -> int:
        total = 0.0
        for _, holder in self.holders:
            total += (await holder.metrics()).total("registryd_peer_sent_bytes_total")
        return int(total)

    async def processor(self) -> float:
        return (await self.agent.metrics()).total("process_cpu_seconds_total")

    def memory(self) -> int:
        status = Path(f"/proc/{self.agent.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _settings(arguments: argparse.Namespace, folder: Path, host: Host, peers: list[Host], transport: str) -> Table:
    trust: Table = {"insecure": True}
    if transport != "insecure":
        trust = {"secret_file": str(arguments.secret), "transport": transport}
    store = folder / "store"
    (store / "blobs/sha256").mkdir(parents=True)
    (store / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (store / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    return {
        "authorization": {"mode": "open"},  # nothing in these stores is said to be of an image
        "store": {"kind": "directory", "directory": str(store)},
        "peers": {"advertise": host.ipv4, **trust},
        "discovery": {"kind": "static", "peers": [f"{peer.ipv4}:{PEERS_PORT}" for peer in peers]},
        "log": {"level": "warning"},
    }


@asynccontextmanager
async def running_site(
    arguments: argparse.Namespace, folder: Path, blob: Path, build: str, transport: str
) -> AsyncIterator[Site]:
    """Agents that know each other; the holders have the blob."""
    # -P: the folder in which this runs is not searched first.
    python, *words = AGENT
    program = ("env", f"PYTHONPATH={build}", python, "-P", *words) if build else AGENT
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(new_network())
        hosts = [await network.add_host(f"node{number}") for number in range(arguments.holders + 1)]
        agents = []
        for number, host in enumerate(hosts):
            place = folder / f"agent{number}"
            settings = _settings(arguments, place, host, hosts, transport)
            if number:
                (place / "store/blobs/sha256" / blob.name).hardlink_to(blob)
            agents.append(agent := Agent(settings, place, host.namespace, program=program))
            stack.push_async_callback(agent.stop)
        await asyncio.gather(*(agent.start() for agent in agents))
        for agent in agents:
            await _wait_acquainted(agent, arguments.holders)
        site = Site(hosts[0], agents[0], tuple(zip(hosts[1:], agents[1:], strict=True)))
        await _limit(arguments, site)
        await asyncio.sleep(0.5)  # index nodes are told within a tenth of a second
        yield site


async def _limit(arguments: argparse.Namespace, site: Site) -> None:
    if arguments.own_megabits:
        await site.host.limit(arguments.own_megabits)
    for number, (host, _) in enumerate(site.holders):
        if arguments.megabits:
            await host.limit(arguments.megabits * (arguments.slow if number == 0 else 1))


async def _wait_acquainted(agent: Agent, count: int) -> None:
    deadline = time.monotonic() + _ACQUAINTED_SECONDS
    while (await agent.metrics()).total("registryd_peers", state="available") < count:
        if time.monotonic() > deadline:
            raise NotReadyError(f"an agent does not find its {count} peers")
        await asyncio.sleep(0.05)


async def pull(arguments: argparse.Namespace, site: Site, blob: str, size: int) -> Run:
    """Get the blob once, as containerd would."""
    sent, processor = await site.sent(), await site.processor()
    begun = time.monotonic()
    trouble = asyncio.create_task(_trouble(arguments, site, size))
    await asyncio.to_thread(_download, site.host, blob, size)
    seconds = time.monotonic() - begun
    await trouble
    return Run(seconds, await site.sent() - sent, site.memory(), await site.processor() - processor)


async def _trouble(arguments: argparse.Namespace, site: Site, size: int) -> None:
    if arguments.stall:
        host, _ = site.holders[0]
        await asyncio.sleep(size * 8 / _MB / arguments.own_megabits / 3)
        await host.unplug()
        await asyncio.sleep(15)
        await host.plug_in()


def _download(host: Host, blob: str, size: int) -> None:
    """Raises EOFError when it is not all of it, ValueError when it is something else."""
    url = Url(3172, f"/v2/library/benchmark/blobs/sha256:{blob}?ns=docker.io")
    sock = host.namespace.open_socket()
    with sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(url.address)
        sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        digest, buffer, left = hashlib.sha256(), bytearray(_BUFFER), size
        early = _read_head(sock)
        digest.update(early)
        left -= len(early)
        while left:
            count = sock.recv_into(buffer)
            if count == 0:
                raise EOFError(f"{left} bytes early")
            digest.update(memoryview(buffer)[:count])
            left -= count
    if digest.hexdigest() != blob:
        raise ValueError("wrong bytes")


def _read_head(sock: socket.socket) -> bytes:
    """What of the body came along with the response head."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += (chunk := sock.recv(4096))
        if not chunk:
            raise EOFError("no response head")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise EOFError(head[:200].decode("latin-1"))
    return head.partition(b"\r\n\r\n")[2]


async def compare(arguments: argparse.Namespace) -> None:
    builds = {"this build": "", **({"the other": arguments.beside} if arguments.beside else {})}
    print("| layer | peers' transport | build | seconds (worst) | sent / size | memory, MiB | processor, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for megabytes in arguments.megabytes:
        for transport in arguments.transport:
            with tempfile.TemporaryDirectory() as name:
                runs = await _measure(arguments, Path(name), megabytes * _MB // _BUFFER * _BUFFER, transport, builds)
            for build, results in runs.items():
                print(_row(megabytes, transport, build, results), flush=True)


async def _measure(
    arguments: argparse.Namespace, folder: Path, size: int, transport: str, builds: dict[str, str]
) -> dict[str, list[tuple[int, Run]]]:
    arguments.secret = make_secret(folder)
    blob = write_blob(folder, size)
    runs: dict[str, list[tuple[int, Run]]] = {build: [] for build in builds}
    for number in range(arguments.runs):
        for build, path in builds.items():
            place = folder / f"{number}-{build.replace(' ', '-')}"
            async with running_site(arguments, place, folder / blob, path, transport) as site:
                runs[build].append((size, await pull(arguments, site, blob, size)))
    return runs


def _row(megabytes: int, transport: str, build: str, results: list[tuple[int, Run]]) -> str:
    runs = [run for _, run in results]
    cells = [
        f"{megabytes} MB",
        transport,
        build,
        f"{statistics.median(run.seconds for run in runs):.2f} ({max(run.seconds for run in runs):.2f})",
        f"{max(run.sent / size for size, run in results):.3f}",
        f"{max(run.memory for run in runs) / 2**20:.0f}",
        f"{statistics.median(run.processor for run in runs):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="One layer that several nodes have")
    parser.add_argument("--holders", type=int, default=5)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--megabits", type=float, default=200, help="of each holder; 0: no limit")
    parser.add_argument("--own-megabits", type=float, default=1000, help="of the node; 0: no limit")
    parser.add_argument("--transport", nargs="+", default=["tls"], choices=["tls", "plain", "insecure"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", default="", help="a checkout of another version")
    parser.add_argument("--slow", type=float, default=1.0, help="share of its bandwidth that the first holder has")
    parser.add_argument("--stall", action="store_true", help="unplug the first holder in the middle")
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
