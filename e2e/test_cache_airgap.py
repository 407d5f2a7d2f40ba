"""The air gap, end to end: fill a cache where there is a way out, carry it over, check it, pull it on three nodes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from lab.cache import running_cache
from lab.commands import run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.errors import CommandError
from lab.images import ImageRecipe, make_image
from lab.leftovers import workspace
from lab.network import new_network
from lab.origin import running_origin

if TYPE_CHECKING:
    from pathlib import Path

    from lab.network import Host
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

REPOSITORIES = ("app", "team/tool", "team/web")
REGISTRYD = (sys.executable, "-m", "registryd")


async def registryd(host: Host, *arguments: str) -> str:
    return await run(*host.namespace.command(*REGISTRYD, *arguments))


def write_lists(folder: Path) -> list[str]:
    """One image as `talosctl images` prints it, two as `kubectl get pods -o json` does."""
    names = [f"origin.lab/{repository}:v1" for repository in REPOSITORIES]
    lines, pods = folder / "images.txt", folder / "pods.json"
    lines.write_text(f"{names[0]}\n")
    containers = [{"name": str(number), "image": name} for number, name in enumerate(names[1:])]
    pods.write_text(json.dumps({"kind": "List", "items": [{"kind": "Pod", "spec": {"containers": containers}}]}))
    return ["--images", str(lines), "--images", str(pods)]


async def test_filled_outside_carried_over_and_pulled_inside(releases: tuple[Release, ...], tmp_path: Path) -> None:
    images = [make_image(tmp_path / str(number), ImageRecipe(seed=f"gap-{number}")) for number in range(3)]
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        lists = write_lists(folder)
        stick = folder / "stick.tar"

        # Outside: a registry, and a cache that is filled from a list.
        outside = await stack.enter_async_context(new_network())
        host = await outside.add_host("outside")
        async with AsyncExitStack() as connected:
            address = f"{host.ipv4}:5000"
            origin = await connected.enter_async_context(
                running_origin(folder / "o", address=address, namespace=host.namespace)
            )
            for image, repository in zip(images, REPOSITORIES, strict=True):
                await origin.push(image, repository)
            changes: Table = {"upstreams": {"registries": {"origin.lab": {"url": origin.url}}}}
            await connected.enter_async_context(
                running_cache(folder / "c1", listen="127.0.0.1:3172", changes=changes, namespace=host.namespace)
            )
            print(await registryd(host, "prefetch", *lists, "--into", "http://127.0.0.1:3172"))
            print(await registryd(host, "export", str(stick), "--partly", *store(folder / "c1")))

        # Inside: another network, with no route to anywhere.
        inside = await stack.enter_async_context(new_network())
        server = await inside.add_host("cache")
        listen = f"{server.ipv4}:3172"
        changes = {
            "upstreams": {"registries": {"origin.lab": {"url": f"http://{host.ipv4}:5000"}}},
            "authorization": {"mode": "open"},
        }
        await stack.enter_async_context(
            running_cache(folder / "c2", listen=listen, changes=changes, namespace=server.namespace)
        )
        with pytest.raises(CommandError, match="exit 1"):
            await registryd(server, "verify", *lists, "--from", f"http://{listen}", "--json")
        print(await registryd(server, "import", str(stick), *store(folder / "c2")))
        checked = json.loads(await registryd(server, "verify", *lists, "--from", f"http://{listen}", "--json"))
        assert checked["complete"]
        assert [image["complete"] for image in checked["images"]] == [True] * 3

        nodes = []
        for number, release in enumerate(releases):
            at = await inside.add_host(f"node{number}")
            containerd = await stack.enter_async_context(
                running_containerd(release, folder / f"n{number}", namespace=at.namespace)
            )
            containerd.write_hosts("_default", Mirror(f"http://{listen}"), server="http://10.77.255.1")
            nodes.append(containerd)
        await asyncio.gather(
            *(node.images.pull(f"origin.lab/{repository}:v1") for node in nodes for repository in REPOSITORIES)
        )
        for node in nodes:
            assert all(node.has_blob(image.local.layers[0].digest) for image in images)


def store(folder: Path) -> list[str]:
    return ["--store.kind", "directory", "--store.directory", str(folder / "store")]
