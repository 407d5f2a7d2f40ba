"""A wave of real nodes that get a layer in stripes: how it is brought about, and what is asked of it afterwards."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Final

from benchmarks.agents import make_secret
from lab.cluster import NodePlan, running_cluster
from lab.errors import PullError
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.odd_stripes import EMPTY, IN_USE
from lab.roles import fetcher_of, index_node_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

NODES: Final = 6
# The node at the top has some seconds to go when the others have been gathered (`lab.odd_stripes`).
MEGABITS = 40
# Above what comes in stripes at all (registryd.cluster.index.rush).
LAYER_BYTES = 24_000_000
STRIPES_FROM = 2
# More than a claim takes with which others are gathered. Else it is 3 s.
FIRST_BYTE_SECONDS = 10
# How long a busy machine may take for what takes a moment.
PATIENCE = 60
STRIPED = "is to come in stripes from"
# So says a node that asks its source for bytes only.
UNASKED = re.compile(r"stripe \d of (sha256:[0-9a-f]+) comes from \S+ unasked")


def striped_image(folder: Path, *, tag: str = "latest") -> Image:
    """Another one each time: agents remember what came of a layer."""
    seed = str(time.time_ns())
    recipe = ImageRecipe(layers=(LayerRecipe(LAYER_BYTES),), architectures=("amd64",), tag=tag, seed=seed)
    return make_image(folder, recipe)


@asynccontextmanager
async def wave(
    release: Release,
    folder: Path,
    *,
    nodes: int = NODES,
    stripes_from: int = STRIPES_FROM,
    program: tuple[str, ...] = (),
) -> AsyncIterator[Cluster]:
    """Members by a secret on links that are limited, whose agents tell of stripes and of their receive buffers."""
    folder.mkdir()
    trust: Table = {"insecure": False, "secret_file": str(make_secret(folder))}
    settings: Table = {
        "peers": {**trust, "stripes_from": stripes_from},
        "registry": {"first_byte_timeout": f"{FIRST_BYTE_SECONDS}s"},
        "log": {"level": "debug"},
    }
    plan = NodePlan(release, agent=settings, program=program or odd("plain"))
    async with running_cluster([plan] * nodes) as cluster:
        await warm_up(cluster, folder)
        for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
            await host.limit(MEGABITS)
        yield cluster


def odd(manner: str, *, program: str = "lab.odd_stripes") -> tuple[str, ...]:
    return (sys.executable, "-m", program, manner, "agent")


async def warm_up(cluster: Cluster, folder: Path) -> None:
    """Pull another image: agents cannot watch for what begins to arrive before their containerds have a folder for it.

    A node in life has pulled its agent's image, at least.
    """
    recipe = ImageRecipe(layers=(LayerRecipe(1000),), architectures=("amd64",), tag="small")
    reference = await cluster.push(make_image(folder / "small", recipe), "demo/small")
    await asyncio.gather(*(pull(node, reference) for node in cluster.nodes))
    agents = [node.agent for node in cluster.nodes if node.agent]
    async with asyncio.timeout(PATIENCE):
        while not all([(await agent.metrics()).total("registryd_images") for agent in agents]):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


async def become(node: Node, manner: str) -> None:
    """Start its agent anew, with another manner (`lab.odd_stripes`)."""
    assert node.agent
    node.agent.program = odd(manner)
    await node.agent.restart()


async def pushed(cluster: Cluster, image: Image) -> str:
    reference = await cluster.push(image, "demo/stripes")
    cluster.origin.forget_requests()
    return reference


def log_of(node: Node) -> str:
    assert node.agent
    return node.agent.process.log.read_text(errors="replace")


def gets_stripes(node: Node, digest: str) -> bool:
    """Whether its agent said that this layer is to come in stripes."""
    return f"{digest} {STRIPED}" in log_of(node)


def top_of(cluster: Cluster, digest: str) -> Node:
    """The node that was named as a source of stripes, and does not get it in stripes itself."""
    lines = [line for node in cluster.nodes for line in log_of(node).splitlines() if f"{digest} {STRIPED}" in line]
    hosts = set(re.findall(r"([0-9.]+):\d+", " ".join(line.partition(STRIPED)[2] for line in lines)))
    (top,) = [node for node in cluster.nodes if node.host.ipv4 in hosts and not gets_stripes(node, digest)]
    return top


class NotTogether(AssertionError):
    """The machine was too busy for a wave in stripes."""


def again(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Four tries, each with nodes of its own: what is tested happens only when nodes ask at the same moment."""

    @wraps(test)
    async def run(*, tmp_path: Path, **others: object) -> None:
        for number in range(4):
            (folder := tmp_path / str(number)).mkdir()
            try:
                return await test(tmp_path=folder, **others)
            except NotTogether as reason:
                print(f"try {number + 1}: {reason}")
                if number == 3:
                    raise
        return None

    return run


def require_stripes(cluster: Cluster, digest: str) -> None:
    """What a test is about has happened: several nodes got the layer in stripes."""
    count = sum(gets_stripes(node, digest) for node in cluster.nodes)
    print(f"{count} of {len(cluster.nodes)} nodes got it in stripes")
    if count <= 1:
        raise NotTogether("the nodes did not ask within the moment in which claims are gathered")


def copies(cluster: Cluster, digest: str) -> int:
    return sum(access.method == "GET" and access.reference == digest for access in cluster.origin.requests())


async def require_all_well(cluster: Cluster, digest: str, *, but: Collection[Node] = ()) -> None:
    """They have the layer, and no agent keeps any of it in memory."""
    well = [node for node in cluster.nodes if node not in but]
    assert all(node.containerd.has_blob(digest) for node in well)
    async with asyncio.timeout(PATIENCE):
        while any(is_buffer_in_use(node) for node in well):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


def is_buffer_in_use(node: Node) -> bool:
    said = log_of(node)
    return said.rfind(IN_USE) > said.rfind(EMPTY)


async def wait_under_way(cluster: Cluster, digest: str) -> None:
    """Return when nodes get it in stripes besides the fetcher and the index node, and one of those has some of it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        some = [node for node in cluster.nodes if gets_stripes(node, digest)]
        if len(some) > 2 and any(node.containerd.arrived(digest) >= 2 * MIB for node in some):
            return
        await asyncio.sleep(0.005)
    raise NotTogether("it does not come in stripes")


async def pull(node: Node, reference: str) -> str:
    return await node.pull(reference, timeout=2 * PATIENCE)


async def pull_everywhere(cluster: Cluster, reference: str) -> None:
    begun = time.monotonic()
    await asyncio.gather(*(pull(node, reference) for node in cluster.nodes))
    took, best = time.monotonic() - begun, LAYER_BYTES * 8 / MEGABITS / 1e6
    print(f"{len(cluster.nodes)} nodes in {took:.2f} s; S/B is {best:.2f} s")


def victim_of(cluster: Cluster, role: str, digest: str) -> Node:
    if role == "fetcher":
        return fetcher_of(cluster, digest)
    if role == "index":
        return index_node_of(cluster, digest)
    if role == "top":
        return top_of(cluster, digest)
    others = (fetcher_of(cluster, digest), index_node_of(cluster, digest))
    return next(node for node in cluster.nodes if node not in others and gets_stripes(node, digest))


async def tries(node: Node, reference: str, layer: str) -> int:
    """How many it takes, each when containerd has thrown away what was wrong: else it would go on with that.

    Raises PullError for another reason than wrong bytes.
    """
    for number in range(1, 5):
        try:
            await pull(node, reference)
        except PullError as error:
            if "unexpected commit digest" not in str(error):
                raise
        else:
            return number
        await node.containerd.collect_garbage()
        assert node.containerd.arrived(layer) < 0
    return 0
