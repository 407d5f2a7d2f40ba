"""What a tag means is known to all although one node knows it, in a cluster in which one member may be asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT, PEERS_PORT, Agent, running_agent
from lab.cluster import ORIGIN as LAB_ORIGIN
from lab.cluster import NodePlan, running_cluster
from lab.fetch import Request
from lab.http_pull import pull_over_http
from lab.toml_text import merged
from tests.fakes.images import oci_image
from tests.fakes.layouts import forget, write_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.images import Image
    from lab.network import Network
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

AGENTS = 6
FANOUT_LIMIT = 1
# Asking one of five at random finds the node that knows a tag once in five times, and one of those that were told three
# or four times; so often in a row by all of them, never.
QUESTIONS_EACH = 5
# A machine that runs six agents at once is busy.
_PATIENCE_SECONDS = 60
# Nobody answers there, which is what an air gap looks like.
ORIGIN = "origin.invalid"
NAME = f"{ORIGIN}/demo/app:v1"


@contextlib.asynccontextmanager
async def large_cluster(network: Network, folder: Path) -> AsyncIterator[list[Agent]]:
    """Agents that are more than `fanout_limit`, each with an empty directory."""
    hosts = [await network.add_host(f"n{number}") for number in range(AGENTS)]
    peers = [f"{host.ipv4}:{PEERS_PORT}" for host in hosts]
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running_agent(
                    merged(
                        PATIENT,
                        {
                            "authorization": {"mode": "open"},
                            "store": {"kind": "directory", "directory": str(store_of(folder / host.name))},
                            "peers": {"insecure": True, "advertise": host.ipv4, "fanout_limit": FANOUT_LIMIT},
                            "discovery": {"kind": "static", "peers": peers},
                        },
                    ),
                    folder / host.name,
                    namespace=host.namespace,
                )
            )
            for host in hosts
        ]


def store_of(home: Path) -> Path:
    return home / "store"


async def meaning_at(agent: Agent, name: str = NAME) -> str | None:
    """The digest with which the agent answers its containerd; None for a 404."""
    registry, _, rest = name.partition("/")
    repository, _, tag = rest.partition(":")
    answer = await agent.ask_registry(Request(f"/v2/{repository}/manifests/{tag}?ns={registry}", "HEAD"))
    assert answer.status in {200, 404}
    return answer.headers["docker-content-digest"] if answer.status == 200 else None


async def until_all_answer(agents: list[Agent], wanted: str, name: str = NAME) -> None:
    """Wait until all give this meaning, and see that they go on doing so."""
    began = time.monotonic()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while {await meaning_at(agent, name) for agent in agents} != {wanted}:  # noqa: ASYNC110 - an answer is all there is
            await asyncio.sleep(0.05)
    print(f"{len(agents)} agents answer with {wanted} after {time.monotonic() - began:.1f} s")
    for _ in range(QUESTIONS_EACH):
        assert [await meaning_at(agent, name) for agent in agents] == [wanted] * len(agents)


async def test_a_tag_that_one_node_knows_is_resolved_by_all_and_means_the_newest(
    network: Network, folder: Path
) -> None:
    old, new = oci_image(NAME, layers=(b"old",)), oci_image(NAME, layers=(b"new",))
    async with large_cluster(network, folder) as agents:
        assert {await meaning_at(agent) for agent in agents} == {None}
        first, second, *others = agents
        write_image(store_of(first.folder), old)
        await until_all_answer(agents, str(old.target.digest))
        await pull_over_http(others[0], NAME)

        write_image(store_of(second.folder), new)
        await until_all_answer(agents, str(new.target.digest))
        await pull_over_http(others[1], NAME)

        await others.pop().kill()  # one of six; if it is an index node of the name, two are left
        await until_all_answer([first, second, *others], str(new.target.digest))

        forget(store_of(second.folder), new)
        await until_all_answer([first, second, *others], str(old.target.digest))


async def test_a_tag_of_one_containerd_is_resolved_and_pulled_without_the_origin(
    release: Release, image: Image
) -> None:
    plan = NodePlan(release, agent=merged(PATIENT, {"peers": {"fanout_limit": 1}}))
    async with running_cluster([plan] * 4) as cluster:
        await cluster.origin.stop()
        first, second, *_ = cluster.nodes
        name = f"{LAB_ORIGIN}/demo/app"
        await first.containerd.import_archive(image.archive(), name)
        await until_all_answer(
            [node.agent for node in cluster.nodes if node.agent], str(image.root.digest), f"{name}:{image.tag}"
        )
        await second.pull(f"{name}:{image.tag}")
