"""Nodes and an origin on one network: a cluster as it is in life, small enough for one machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.agent import AGENT, REGISTRY, Agent, agent_settings
from lab.containerd import Containerd, running_containerd
from lab.containerd_config import Mirror, Options
from lab.errors import LabError
from lab.leftovers import workspace
from lab.network import Host, Network, new_network
from lab.origin import Origin, running_origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path

    from lab.cri import Credentials
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

_log = logging.getLogger(__name__)

ORIGIN = "origin.lab"  # what references call the origin; no name server knows it, hosts.toml says where it is
_ORIGIN_PORT = 5000
_ACQUAINTED_SECONDS = 60  # a second or two, while nothing else runs: who asks too early asks again a moment later
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class NodePlan:
    release: Release
    options: Options = field(default_factory=Options)
    agent: Table | None = field(default_factory=dict)  # changes to `agent_settings`; None: no agent, no mirror
    program: tuple[str, ...] = AGENT


@dataclass(frozen=True)
class Node:
    host: Host
    containerd: Containerd
    agent: Agent | None

    async def pull(self, reference: str, *, credentials: Credentials | None = None, timeout: float = 120) -> str:
        return await self.containerd.images.pull(reference, credentials=credentials, timeout=timeout)

    async def remove(self, reference: str, *digests: str) -> None:
        """Remove the image, and wait until the content of these digests is gone with it."""
        await self.containerd.images.remove(reference)
        await self.containerd.wait_blobs_gone(*digests)


@dataclass(frozen=True)
class Cluster:
    folder: Path
    network: Network
    origin_host: Host
    origin: Origin
    nodes: tuple[Node, ...]

    async def wait_acquainted(self) -> None:
        """Return when every agent has heard of all that it is to know; LabError when they don't find each other."""
        agents = [node.agent for node in self.nodes if node.agent]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACQUAINTED_SECONDS):
                while not all([await _knows(agent, peers=_peers_of(agent, agents)) for agent in agents]):  # noqa: ASYNC110 - agents have no event for it
                    await asyncio.sleep(_POLL_SECONDS)
                return
        raise LabError("the agents do not find each other")

    def log_what_agents_said(self) -> None:
        """For the report of a test that fails: the logs go with the folder."""
        for node in self.nodes:
            if node.agent:
                _log.error("%s, the end of its agent's log:\n%s", node.host.name, node.agent.process.log_tail())

    async def push(self, image: Image, repository: str) -> str:
        """Push to the origin; return the reference by tag that nodes pull it by."""
        await self.origin.push(image, repository)
        return f"{ORIGIN}/{repository}:{image.tag}"


def _peers_of(agent: Agent, agents: Sequence[Agent]) -> int:
    """How many peers it is to know: those that its settings name, or everybody."""
    discovery = agent.settings.get("discovery")
    peers = discovery.get("peers") if isinstance(discovery, Mapping) else None
    return len(peers) if isinstance(peers, list) else len(agents) - 1


async def _knows(agent: Agent, *, peers: int) -> bool:
    return (await agent.metrics()).total("registryd_peers", state="available") >= peers


@contextlib.asynccontextmanager
async def running_cluster(
    plans: Sequence[NodePlan], *, is_private: bool = False, are_acquainted: bool = True
) -> AsyncIterator[Cluster]:
    """All of it ready, for the length of the block: origin first, then the nodes side by side.

    `are_acquainted`: every agent has heard of every other when the block begins.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        network = await stack.enter_async_context(new_network())
        origin_host = await network.add_host("origin")
        hosts = [await network.add_host(f"node{number}") for number in range(1, len(plans) + 1)]
        origin = await stack.enter_async_context(_origin_on(origin_host, folder / "origin", is_private=is_private))
        nodes = await _side_by_side(
            [
                stack.enter_async_context(_node(plan, host, hosts, origin, folder))
                for plan, host in zip(plans, hosts, strict=True)
            ]
        )
        cluster = Cluster(folder, network, origin_host, origin, tuple(nodes))
        try:
            if are_acquainted:
                await cluster.wait_acquainted()
            yield cluster
        except Exception:
            cluster.log_what_agents_said()
            raise


async def _side_by_side(starts: Sequence[Coroutine[None, None, Node]]) -> list[Node]:
    """The first failure ends the others, and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(start, name=f"node {number}") for number, start in enumerate(starts, 1)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


def _origin_on(host: Host, folder: Path, *, is_private: bool) -> contextlib.AbstractAsyncContextManager[Origin]:
    address = f"{host.ipv4}:{_ORIGIN_PORT}"
    return running_origin(folder, address=address, namespace=host.namespace, is_private=is_private)


@contextlib.asynccontextmanager
async def _node(plan: NodePlan, host: Host, hosts: list[Host], origin: Origin, folder: Path) -> AsyncIterator[Node]:
    home = folder / host.name
    async with running_containerd(plan.release, home, namespace=host.namespace, options=plan.options) as containerd:
        agent = _agent(plan, host, hosts, containerd, home)
        mirrors = [Mirror(f"http://{REGISTRY}", dial_timeout="1s")] if agent else []
        containerd.write_hosts(ORIGIN, *mirrors, server=origin.url)
        try:
            if agent:
                await agent.start()
            yield Node(host, containerd, agent)
        finally:
            if agent:
                await agent.stop()


def _agent(plan: NodePlan, host: Host, hosts: list[Host], containerd: Containerd, home: Path) -> Agent | None:
    if plan.agent is None:
        return None
    others = [other.ipv4 for other in hosts if other != host]
    settings = agent_settings(containerd, host=host.ipv4, peers=others, changes=plan.agent)
    return Agent(settings, home, host.namespace, program=plan.program)
