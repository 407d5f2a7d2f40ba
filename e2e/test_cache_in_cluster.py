"""A cache in a cluster: the next endpoint of every node, a member besides, and what nodes are prefetched from."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT, PEERS_PORT, Agent, agent_settings
from lab.cache import running_cache
from lab.commands import run
from lab.containerd import running_containerd
from lab.errors import CommandError
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace
from lab.network import new_network
from lab.origin import running_origin
from lab.toml_text import merged
from registryd.identity.secret import new_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.containerd import Containerd
    from lab.images import Image
    from lab.network import Host
    from lab.origin import Origin
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

REGISTRYD = (sys.executable, "-m", "registryd")
REPOSITORIES = ("app", "team/tool")
LARGE = LayerRecipe(3 << 20)


@dataclass(frozen=True)
class Node:
    host: Host
    containerd: Containerd
    agent: Agent
    folder: Path

    async def registryd(self, *words: str) -> str:
        return await run(*self.host.namespace.command(*REGISTRYD, *words))

    async def set_up(self, *words: str) -> str:
        """`registryd install` or `uninstall`, for this containerd."""
        paths = {
            "--containerd-config": self.containerd.places.config,
            "--containerd-program": self.containerd.release.containerd,
            "--state": self.folder / "record",
        }
        return await self.registryd(*words, *(str(word) for pair in paths.items() for word in pair))

    async def prefetch(self, images: Path) -> dict[str, dict[str, object]]:
        """Into this node's containerd; what became of each image by its name."""
        words = ("--into", "containerd", "--containerd-socket", str(self.containerd.places.socket), "--json")
        document = json.loads(await self.registryd("prefetch", "--images", str(images), *words))
        return {each["image"]: each for each in document["images"]}

    def hosts_files(self) -> dict[str, bytes]:
        root = self.containerd.places.hosts
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    async def from_peers(self) -> float:
        return (await self.agent.metrics()).total("registryd_sent_bytes_total", source="peer")


@dataclass(frozen=True)
class Stage:
    folder: Path
    origin: Origin
    cache_url: str
    cache: Agent
    nodes: tuple[Node, Node]
    tokens: dict[str, Path]


@asynccontextmanager
async def staged(release: Release) -> AsyncIterator[Stage]:
    """A registry that only the cache reaches; a cache and two nodes that share a secret, and know each other."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        network = await stack.enter_async_context(new_network())
        upstream, server, *hosts = [await network.add_host(name) for name in ("upstream", "cache", "node1", "node2")]
        origin = await stack.enter_async_context(
            running_origin(folder / "o", address=f"{upstream.ipv4}:5000", namespace=upstream.namespace)
        )
        tokens = {name: folder / name for name in ("secret", "cache-token")}
        for path in tokens.values():
            path.write_text(new_secret())
            path.chmod(0o600)
        members = [server, *hosts]
        listen = f"{server.ipv4}:3172"
        cache = await stack.enter_async_context(
            running_cache(
                folder / "c",
                listen=listen,
                changes={
                    "cache": {"member": True, "token_file": str(tokens["cache-token"])},
                    "authorization": {"mode": "open"},
                    "upstreams": {"registries": {"origin.lab": {"url": origin.url}}},
                    "peers": {"secret_file": str(tokens["secret"]), "advertise": server.ipv4},
                    "discovery": {"peers": _peers(server, members)},
                },
                namespace=server.namespace,
            )
        )
        nodes = [await _node(stack, release, folder / host.name, host, members, tokens) for host in hosts]
        yield Stage(folder, origin, f"http://{listen}", cache, (nodes[0], nodes[1]), tokens)


def _peers(host: Host, members: list[Host]) -> list[str]:
    return [f"{other.ipv4}:{PEERS_PORT}" for other in members if other != host]


async def _node(  # noqa: PLR0913, PLR0917 - what a node is made of
    stack: AsyncExitStack, release: Release, folder: Path, host: Host, members: list[Host], tokens: dict[str, Path]
) -> Node:
    containerd = await stack.enter_async_context(running_containerd(release, folder, namespace=host.namespace))
    # The registry itself is not to be had from here.
    containerd.write_hosts("origin.lab", server="http://127.0.0.1:9")
    token = folder / "token"
    changes: Table = {
        "registry": {"token_file": str(token)},
        "peers": {"insecure": False, "secret_file": str(tokens["secret"])},
        "discovery": {"peers": _peers(host, members)},
    }
    changes = merged(PATIENT, changes)
    agent = Agent(agent_settings(containerd, host=host.ipv4, peers=[], changes=changes), folder / "a", host.namespace)
    token.write_text(new_secret())
    token.chmod(0o600)
    stack.push_async_callback(agent.stop)
    await agent.start()
    return Node(host, containerd, agent, folder)


async def _acquainted(agent: Agent, *, peers: int) -> None:
    async with asyncio.timeout(60):
        while (await agent.metrics()).total("registryd_peers", state="available") < peers:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)


async def _blob_transfers(origin: Origin, *images: Image) -> list[str]:
    """The blobs that the origin gave; all of the images are expected."""
    expected = sum(1 + len(image.local.layers) for image in images)
    return [access.reference for access in await origin.blob_transfers(expected=expected)]


async def test_nodes_pull_and_prefetch_what_only_the_cache_reaches(release: Release, tmp_path: Path) -> None:
    images = [make_image(tmp_path / name, ImageRecipe(seed=name, layers=(LARGE, LayerRecipe(5000)))) for name in "ab"]
    names = [f"origin.lab/{repository}:v1" for repository in REPOSITORIES]
    async with staged(release) as stage:
        first, second = stage.nodes
        for image, repository in zip(images, REPOSITORIES, strict=True):
            await stage.origin.push(image, repository)
        await asyncio.gather(*(_acquainted(member, peers=2) for member in (stage.cache, first.agent, second.agent)))
        before = [node.hosts_files() for node in stage.nodes]
        settings = (
            *("--registry.next_endpoints", stage.cache_url),
            *("--registry.next_token_file", str(stage.tokens["cache-token"])),
        )
        for node in stage.nodes:
            print(await node.set_up("install", "--token-file", str(node.folder / "token"), *settings))

        # Nobody has it: the first node's agent says so, and the cache, which is next, fetches it.
        await first.containerd.images.pull(names[0])
        fetched = await _blob_transfers(stage.origin, images[0])
        assert sorted(fetched) == sorted(set(fetched))

        # The second node gets it from members, of which the cache is one.
        await second.containerd.images.pull(names[0])
        assert await _blob_transfers(stage.origin, images[0]) == fetched
        assert await second.from_peers() >= LARGE.size

        # Prefetched: into the cache, and from there, as a member, into a node; what was there is left out.
        lists = stage.folder / "images.txt"
        lists.write_text("\n".join(names))
        words = ("--into", stage.cache_url, "--token-file", str(stage.tokens["cache-token"]))
        print(await first.registryd("prefetch", "--images", str(lists), *words))
        fetched = await _blob_transfers(stage.origin, *images)
        outcomes = await second.prefetch(lists)
        assert {name: each["was_there"] for name, each in outcomes.items()} == {names[0]: True, names[1]: False}
        assert all(each["complete"] and each["bytes"] for each in outcomes.values())
        assert second.containerd.has_blob(images[1].local.layers[0].digest)
        assert await _blob_transfers(stage.origin, *images) == fetched
        given = (await stage.cache.metrics()).total("registryd_peer_sent_bytes_total")
        print(f"{release}: peers got {given:.0f} bytes from the cache")
        assert given >= LARGE.size
        assert all(each["was_there"] for each in (await second.prefetch(lists)).values())

        # What is nowhere is said, and does not keep the others from coming.
        lists.write_text("\n".join([*names, "origin.lab/none:v1"]))
        with pytest.raises(CommandError, match="exit 1"):
            await first.prefetch(lists)
        assert first.containerd.has_blob(images[1].local.layers[0].digest)

        findings = await _findings(first, *settings)
        assert findings["cache"] == ("ok", f"{stage.cache_url} answers")
        # The cache is a member that answers for itself like any other.
        assert {name: findings[name][0] for name in ("secret", "peers", "pull")} == {
            "secret": "ok",
            "peers": "ok",
            "pull": "ok",
        }
        await stage.cache.stop()
        assert (await _findings(first, *settings))[f"cache {stage.cache_url}"][0] == "problem"

        for node, files in zip(stage.nodes, before, strict=True):
            await node.set_up("uninstall", "--store.containerd_socket", str(node.containerd.places.socket))
            assert node.hosts_files() == files


async def _findings(node: Node, *settings: str) -> dict[str, tuple[str, str]]:
    paths = (
        "--containerd-config",
        str(node.containerd.places.config),
        "--config",
        str(node.agent.folder / "agent.toml"),
    )
    command = (*REGISTRYD, "doctor", "--json", *paths, *settings)
    # Its exit code says whether all is well, which is not the question.
    said = await run("sh", "-c", '"$@" || true', "sh", *node.host.namespace.command(*command))
    return {each["name"]: (each["severity"], each["found"]) for each in json.loads(said)["findings"]}
