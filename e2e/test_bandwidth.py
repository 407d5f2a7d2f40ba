"""Limits on real links: what a node takes and gives, changed without a restart; prefetch goes behind a pull."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from e2e.cache_stage import new_stage
from lab.cluster import NodePlan, running_cluster
from lab.commands import run
from lab.http_pull import pull_over_http
from lab.images import ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from lab.agent import Agent
    from lab.cluster import Node
    from lab.images import Image
    from lab.network import Host
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

_MIB = 1 << 20
_RATE = 2 * _MIB
# While it is limited; what the slots, the pipes and the sockets hold comes beside it.
_LIMITED_SECONDS = 4.0
_HELD = 4 * _MIB
_PULLED = 48 * _MIB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return _image(tmp_path_factory, _PULLED)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return _image(tmp_path_factory, 320 * _MIB)


def _image(folders: pytest.TempPathFactory, size: int, *, seed: str = "") -> Image:
    recipe = ImageRecipe(layers=(LayerRecipe(size=size),), architectures=(local_architecture(),), seed=seed)
    return make_image(folders.mktemp("image") / "layout", recipe)


def came(node: Node, image: Image) -> int:
    """Bytes of its one layer that containerd has received."""
    return max(0, node.containerd.arrived(image.local.layers[0].digest))


async def held_until_lifted(
    pulling: Awaitable[object], received: Callable[[], Awaitable[int]], *, lift: Callable[[], object], mib: int
) -> None:
    """What is pulled, so many MiB, comes at 2 MiB/s, and much more quickly when the limit is lifted."""
    at_first, began = await received(), time.monotonic()
    pulled = asyncio.ensure_future(pulling)
    await asyncio.sleep(_LIMITED_SECONDS)
    assert not pulled.done()
    before = await received() - at_first
    assert 0 < before <= _RATE * (time.monotonic() - began) + _HELD
    print(f"\n{before / _MIB:.1f} MiB in {time.monotonic() - began:.1f} s with a limit of 2 MiB/s")
    lift()
    lifted = time.monotonic()
    await pulled
    # With the limit 20 s and more would be left.
    print(f"and the rest of {mib} MiB in {time.monotonic() - lifted:.1f} s without it")
    assert time.monotonic() - lifted < (mib * _MIB - before) / _RATE - 3


@pytest.mark.parametrize("side", ["upload", "download"])
async def test_a_limit_holds_until_the_file_lifts_it(newest: Release, large: Image, tmp_path: Path, side: str) -> None:
    limits = tmp_path / "limits"
    limits.write_text(f"{side}=2MiB\n")
    plan = NodePlan(newest, agent={"bandwidth": {"file": str(limits)}})
    async with running_cluster([NodePlan(newest, agent=plan.agent if side == "upload" else {}), plan]) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(large, "demo/large")
        await first.pull(reference)

        async def received() -> int:
            return came(second, large)

        pulling = second.pull(reference, timeout=120)
        await held_until_lifted(pulling, received, lift=lambda: limits.write_text("# all there is\n"), mib=48)


async def test_a_cluster_takes_no_more_from_the_origin_than_its_cache_may(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Two nodes pull two images by way of the cache; counted is what the cache's network card receives."""
    limits = tmp_path / "limits"
    limits.write_text("# as the settings say\n")
    settings = {"cache": {"max_origin_rate": "2MiB"}, "bandwidth": {"file": str(limits)}}
    names = ["origin.lab/demo/first:v1", "origin.lab/demo/second:v1"]
    async with new_stage() as stage:
        # What the sockets hold is received, too: as little as can be told apart from a limit that does not hold.
        await run(*stage.cache_host.namespace.command("sysctl", "-w", "net.ipv4.tcp_rmem=4096 131072 524288"))
        for name in names:
            repository = name.removeprefix("origin.lab/").removesuffix(":v1")
            await stage.origin.push(_image(tmp_path_factory, 32 * _MIB, seed=name), repository)
        async with stage.cache({"origin.lab": {"url": stage.origin.url}}, **settings) as cache:
            pulling = asyncio.gather(*(pull_over_http(cache, name) for name in names))
            received = partial(_received, stage.cache_host)
            await held_until_lifted(pulling, received, lift=lambda: limits.write_text("origin=0B\n"), mib=64)


async def _received(host: Host) -> int:
    """Bytes that have come over its cable."""
    (link,) = json.loads(await run("ip", "-n", host.namespace.name, "-json", "-statistics", "link", "show", "eth0"))
    return int(link["stats64"]["rx"]["bytes"])


@pytest.mark.parametrize("by", ["agent", "kubelet"])
async def test_prefetch_goes_behind_a_pull_on_a_full_link(
    newest: Release, large: Image, larger: Image, tmp_path: Path, by: str
) -> None:
    """Without priorities each would get half. By a kubelet it is a pull like others, of which the agent is told."""
    limits = tmp_path / "limits"
    limits.write_text("# the link's own\n")
    plan = NodePlan(newest, agent={"bandwidth": {"file": str(limits)}})
    async with running_cluster([NodePlan(newest), plan]) as cluster:
        first, second = cluster.nodes
        pulled, brought = await cluster.push(large, "demo/large"), await cluster.push(larger, "demo/larger")
        for reference in (pulled, brought):
            await first.pull(reference)
        await second.host.limit(160)
        (tmp_path / "images.txt").write_text(brought)
        bringing = asyncio.create_task(_bring(second, brought, tmp_path / "images.txt", by=by))
        async with asyncio.timeout(60):
            while came(second, larger) < 8 * _MIB:  # noqa: ASYNC110 - a file of containerd's
                await asyncio.sleep(0.05)
        behind = await beside_a_pull(second, pulled, large, larger)
        assert not bringing.done()
        assert behind < 0.6 * _PULLED
        await second.remove(pulled, large.local.layers[0].digest)
        # A pod that is to run waits for the very image: equal shares. TCP gives 29 to 146 MiB then. A limit of the
        # agent's own, below the link's, tells equal shares (48 MiB) from a quarter (16 MiB) in each run, also when a
        # disk that is busy with other tests holds the prefetch's containerd up for two seconds (12 MiB less each).
        assert second.agent
        asked = await _pulls_begun(second.agent)
        waiting = asyncio.create_task(second.pull(brought, timeout=120))
        limits.write_text("download=12MiB\n")
        await second.agent.process.wait_ready(partial(_is_limited, second.agent))
        async with asyncio.timeout(60):
            while await _pulls_begun(second.agent) == asked:  # noqa: ASYNC110 - a counter of the agent
                await asyncio.sleep(0.05)
        beside = await beside_a_pull(second, pulled, large, larger)
        assert not bringing.done()
        assert beside > 0.5 * _PULLED
        await second.host.unlimit()
        limits.write_text("# none\n")
        await asyncio.gather(bringing, waiting)


async def _pulls_begun(agent: Agent) -> float:
    """How often containerd asked what a name means: a large layer alone is several requests."""
    return (await agent.metrics()).total("registryd_requests_total", kind="manifest", method="HEAD")


async def _is_limited(agent: Agent) -> bool:
    return '"download": "12MiB/s"' in agent.process.log.read_text()


async def beside_a_pull(node: Node, pulled: str, image: Image, other: Image) -> int:
    """Bytes of the other image that came from the first byte of the pull's layer until its last one."""
    pulling, began = asyncio.create_task(node.pull(pulled)), time.monotonic()
    async with asyncio.timeout(60):
        while came(node, image) == 0:  # noqa: ASYNC110 - a file of containerd's
            await asyncio.sleep(0.01)
        before = beside = came(node, other)
        while came(node, image) > 0:
            beside = came(node, other)
            await asyncio.sleep(0.01)
    await pulling
    beside -= before
    print(f"\nbeside 48 MiB pulled in {time.monotonic() - began:.1f} s came {beside / _MIB:.1f} MiB of a prefetch")
    return beside


async def _bring(node: Node, image: str, images: Path, *, by: str) -> None:
    program = (sys.executable, "-m", "registryd")
    if by == "agent":
        socket = f"--containerd-socket={node.containerd.places.socket}"
        words = (*program, "prefetch", f"--images={images}", "--into=containerd", "--json", socket)
        await run(*node.host.namespace.command(*words))
        return
    said = await run(*node.host.namespace.command(*program, "background", f"--images={images}"))
    assert said == "1 image: pulls are in the background\n"
    await node.pull(image, timeout=120)
    said = await run(*node.host.namespace.command(*program, "background", f"--images={images}", "--end"))
    assert said == "1 image: pulls are as others\n"
