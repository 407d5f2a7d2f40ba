"""What real agents say of each other is true: who ends, vanishes or is no member, why and since when."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from e2e.test_discovery import agents_on, each, until_peers, with_hosts_file
from registryd.identity.secret import new_secret
from registryd.observability.metrics import PeerTrouble

if TYPE_CHECKING:
    from pathlib import Path

    from lab.agent import Agent
    from lab.network import Host, Network
    from lab.toml_text import Table

pytestmark = pytest.mark.timeout(300)

# What operations.md promises of an idle cluster, and what a loaded machine is given besides.
_NOTICED_SECONDS = 15
_LOADED_SECONDS = 45


async def told(agent: Agent, path: str = "/status") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await agent.ask_admin(path)).body)
    return answer


async def seen_of(agent: Agent, host: Host) -> dict[str, Any]:
    members: list[dict[str, Any]] = (await told(agent))["members"]
    return next(member for member in members if member["address"].startswith(f"{host.ipv4}:"))


async def until_seen(agent: Agent, host: Host, state: str, *, reason: str | None = None) -> float:
    """How many seconds it takes until the agent takes the member for that."""
    began = time.monotonic()
    async with asyncio.timeout(_NOTICED_SECONDS + _LOADED_SECONDS):
        seen = await seen_of(agent, host)
        while seen["state"] != state or reason not in {None, seen["reason"]}:
            seen = await seen_of(agent, host)
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_an_idle_cluster_notices_who_ends_and_who_vanishes(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("a", "b", "c", "d")]
    peers = {"kind": "static", "peers": [f"{host.ipv4}:3173" for host in hosts]}
    async with agents_on(hosts, folder, lambda _: peers) as agents:
        await each(agents, lambda agent: until_peers(agent, 3))
        await asyncio.sleep(10)  # nobody asks anybody anything
        killed, unplugged = hosts[2], hosts[3]
        ended = time.time()
        await agents[2].kill()
        await unplugged.unplug()
        for agent in agents[:2]:
            for host, trouble in ((killed, PeerTrouble.REFUSED), (unplugged, PeerTrouble.NO_ANSWER)):
                await until_seen(agent, host, "set aside")
                seen = await seen_of(agent, host)
                assert seen["reason"] == trouble
                assert ended - 1 <= seen["since"] <= ended + _NOTICED_SECONDS + _LOADED_SECONDS
                assert (await agent.metrics()).total("registryd_peers_set_aside", reason=trouble) == 1
                assert f"is set aside: {trouble}" in agent.process.log.read_text()
        await agents[2].start()
        await unplugged.plug_in()
        for agent in agents[:2]:
            for host in (killed, unplugged):
                await until_seen(agent, host, "up")
                assert (await seen_of(agent, host))["reason"] == ""


async def test_whoever_looks_sees_the_truth_at_once(network: Network, folder: Path) -> None:
    """An answer that is on the page, and a state beside it that says otherwise, do not occur."""
    hosts = [await network.add_host(name) for name in ("a", "b")]
    peers = {"kind": "static", "peers": [f"{host.ipv4}:3173" for host in hosts]}
    async with agents_on(hosts, folder, lambda _: peers) as (agent, other):
        await until_peers(agent, 1)
        await other.kill()
        (member,) = (await told(agent, "/cluster"))["members"]
        assert (member["state"], member["reason"], member["problem"]) == ("set aside", "refused", "refused")
        await asyncio.sleep(8)  # by now the agent tries it seldom
        await other.start()
        async with asyncio.timeout(_LOADED_SECONDS):
            while (member := (await told(agent, "/cluster"))["members"][0])["vitals"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (member["state"], member["reason"]) == ("up", "")
        assert (await seen_of(agent, hosts[1]))["state"] == "up"


async def test_a_node_of_another_secret_than_all_others_is_told_of_itself(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("odd", "b", "c")]
    peers = {"kind": "static", "peers": [f"{host.ipv4}:3173" for host in hosts]}
    files = {host.name: folder / f"secret of {host.name}" for host in hosts}
    secrets = dict.fromkeys(files, new_secret()) | {"odd": new_secret()}
    for name, file in files.items():
        file.touch(mode=0o600)
        file.write_text(secrets[name])

    def identity(host: Host) -> Table:
        return {"secret_file": str(files[host.name])}

    async with agents_on(hosts, folder, lambda _: peers, identity=identity) as (odd, *others):
        await each(others, lambda agent: until_peers(agent, 1))
        for host in hosts[1:]:
            # Before, it is refused: agents start one after another.
            await until_seen(odd, host, "set aside", reason=PeerTrouble.OTHER_SECRET)
        trouble = (await told(odd))["own_trouble"]
        assert (trouble["reason"], trouble["members"], trouble["of"]) == (PeerTrouble.OTHER_SECRET, 2, 2)
        for agent in others:
            await until_seen(agent, hosts[0], "set aside")
            assert (await seen_of(agent, hosts[0]))["reason"] == PeerTrouble.OTHER_SECRET
            assert (await told(agent))["own_trouble"] is None
        # The agent follows the file: nothing but the secret was wrong.
        files["odd"].write_text(secrets["b"])
        await each([odd], lambda agent: until_peers(agent, 2))
        assert (await told(odd))["own_trouble"] is None


async def test_of_two_families_the_one_that_works_is_used(network: Network, folder: Path) -> None:
    hosts = [await network.add_host(name) for name in ("a", "b")]
    if not hosts[0].ipv6:
        pytest.skip("the kernel has no IPv6")
    names = folder / "hosts"
    # Nobody has the first address: packets to it are lost without an answer.
    names.write_text(f"fd77::dead peer.lab\n{hosts[1].ipv4} peer.lab\n")
    program = partial(with_hosts_file, names)
    discovery = {"kind": "static", "peers": ["peer.lab:3173"]}
    async with agents_on(hosts, folder, lambda _: discovery, program=program) as (agent, _):
        await until_peers(agent, 1)
        (member,) = (await told(agent, "/checkup"))["members"]
        assert (member["state"], member["problem"], member["peers_problem"]) == ("up", "", "")
        assert member["content_problem"] == ""
