"""Real agents find each other, and a cache that is a member: by announcement, by name, by a file that changes."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from lab.agent import AGENT, Agent, running_agent
from lab.cache import CACHE
from lab.commands import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from lab.network import Host, Network
    from lab.toml_text import Table

pytestmark = pytest.mark.timeout(300)

_PATIENCE_SECONDS = 60


def settings_on(host: Host, home: Path, discovery: Table, identity: Table | None = None) -> Table:
    return {
        "store": {"kind": "directory", "directory": str(home / "store")},
        "peers": {"advertise": host.ipv4, **(identity or {"insecure": True})},
        "discovery": discovery,
        "cache": {"member": True, "keep_free": "0B"},
    }


@contextlib.asynccontextmanager
async def agents_on(  # noqa: PLR0913 - the last three by name
    hosts: list[Host],
    folder: Path,
    discovery: Callable[[Host], Table],
    *,
    program: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda command: command,
    with_cache: bool = False,
    identity: Callable[[Host], Table] = lambda _: {"insecure": True},
) -> AsyncIterator[list[Agent]]:
    """An agent on each host; `with_cache`: on the last one a cache. `program` is how the command is started.

    `identity` are the settings of peers by which it is a member.
    """
    async with contextlib.AsyncExitStack() as stack:
        homes = {host.name: folder / host.name for host in hosts}
        yield [
            await stack.enter_async_context(
                running_agent(
                    settings_on(host, homes[host.name], discovery(host), identity(host)),
                    homes[host.name],
                    namespace=host.namespace,
                    program=program(CACHE if with_cache and host == hosts[-1] else AGENT),
                )
            )
            for host in hosts
        ]


async def until_peers(agent: Agent, count: int) -> None:
    """Wait until an agent knows so many others that answer, itself not counted."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (await agent.metrics()).total("registryd_peers", state="available") != count:  # noqa: ASYNC110 - metrics
            await asyncio.sleep(0.05)


async def each(agents: list[Agent], wait: Callable[[Agent], Awaitable[None]]) -> None:
    await asyncio.gather(*map(wait, agents))


async def test_agents_announce_themselves_on_the_local_network(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("a", "b")]
    for host in hosts:
        await run("ip", "-n", host.namespace.name, "route", "add", "224.0.0.0/4", "dev", "eth0")
    async with agents_on(hosts, folder, lambda host: {"kind": "mdns", "interface": host.ipv4}) as agents:
        await each(agents, lambda agent: until_peers(agent, 1))
        await agents[1].stop()
        await until_peers(agents[0], 0)


async def test_agents_follow_a_file(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("a", "b", "c")]
    peers = folder / "peers"
    peers.write_text("".join(f"{host.ipv4}:3173\n" for host in hosts[:2]))
    async with agents_on(hosts, folder, lambda _: {"kind": "file", "file": str(peers)}) as agents:
        await each(agents[:2], lambda agent: until_peers(agent, 1))
        replacement = folder / "peers.new"
        replacement.write_text("".join(f"{host.ipv4}:3173\n" for host in hosts))
        replacement.rename(peers)
        await each(agents, lambda agent: until_peers(agent, 2))
        peers.unlink()
        await asyncio.sleep(1)
        await each(agents, lambda agent: until_peers(agent, 2))


async def test_agents_and_a_cache_resolve_a_name_whose_addresses_change(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("a", "b", "c")]
    names = folder / "hosts"
    names.write_text("".join(f"{host.ipv4} peers.lab\n" for host in hosts[:2]))
    discovery = {"kind": "dns", "dns_name": "peers.lab:3173", "interval": "200ms"}
    program = partial(with_hosts_file, names)
    async with agents_on(hosts, folder, lambda _: discovery, program=program, with_cache=True) as agents:
        await each(agents[:2], lambda agent: until_peers(agent, 1))
        with names.open("a") as file:
            file.write(f"{hosts[2].ipv4} peers.lab\n")
        await each(agents, lambda agent: until_peers(agent, 2))
        names.write_text("")
        await asyncio.sleep(1)
        await each(agents, lambda agent: until_peers(agent, 2))


def with_hosts_file(path: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with this file as its /etc/hosts, in a mount namespace of its own; edits of the file show through."""
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(path), *command)
