"""Registries and clients of others, as their projects ship them: what each client gets from each registry itself,
it gets through the cache as well.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import helm_chart, make_artifact
from lab.cache import running_cache
from lab.clients import NAMES, obtain_client
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.origin import running_origin
from lab.push import Repository
from lab.registries import KINDS, running_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.containerd import Containerd
    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.network import Network
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

NOWHERE = "http://127.0.0.1:9"
DEBIANS = "docker-registry"
LAYERS = (LayerRecipe(300_000), LayerRecipe(2_000))
IMAGES = {
    "index": ImageRecipe(layers=LAYERS),
    "single": ImageRecipe(layers=LAYERS, architectures=("amd64",)),
}


@dataclass(frozen=True)
class Scene:
    """One host with a registry, a cache of it, and clients; everything on loopback."""

    folder: Path
    namespace: Namespace
    address: str
    through: str = "127.0.0.1:3172/origin.lab"

    async def push(self, image: Image, repository: str) -> tuple[str, str]:
        """Its name by tag, and by digest."""
        await Repository(f"http://{self.address}/v2/{repository}", self.namespace).push(image)
        return f"{repository}:{image.tag}", f"{repository}@{image.root.digest}"

    async def push_for(self, whom: str) -> list[str]:
        """Images that nobody else has pulled: one for each kind and way to name it."""
        names = []
        for number, by in enumerate(("by-tag", "by-digest")):
            for kind, recipe in IMAGES.items():
                seeded = ImageRecipe(recipe.layers, recipe.architectures, seed=f"{whom}-{kind}-{by}")
                image = make_image(self.folder / "images" / whom / kind / by, seeded)
                names.append((await self.push(image, f"{whom}/{kind}-{by}"))[number])
        return names

    @asynccontextmanager
    async def containerd(self, release: Release, number: int, *, mirror: str) -> AsyncIterator[Containerd]:
        opening = running_containerd(release, self.folder / f"n{number}", namespace=self.namespace)
        async with opening as containerd:
            containerd.write_hosts("_default", Mirror(mirror), server=NOWHERE)
            yield containerd


@pytest.fixture(params=[DEBIANS, *KINDS])
async def scene(request: pytest.FixtureRequest, network: Network, folder: Path) -> AsyncIterator[Scene]:
    host = await network.add_host("all")
    async with AsyncExitStack() as stack:
        address = "127.0.0.1:5000"
        if request.param == DEBIANS:
            opening = running_origin(folder / "o", address=address, namespace=host.namespace)
            await stack.enter_async_context(opening)
        else:
            registry = running_registry(request.param, folder / "o", port=5000, namespace=host.namespace)
            await stack.enter_async_context(registry)
        changes = {"upstreams": {"registries": {"origin.lab": {"url": f"http://{address}"}}}}
        cache = running_cache(folder / "c", listen="127.0.0.1:3172", changes=changes, namespace=host.namespace)
        await stack.enter_async_context(cache)
        yield Scene(folder, host.namespace, address)


async def test_containerd_gets_the_same_of_every_registry(scene: Scene, representatives: tuple[Release, ...]) -> None:
    for number, release in enumerate(representatives):
        names = await scene.push_for(f"v{number}")
        async with (
            scene.containerd(release, 2 * number, mirror=f"http://{scene.address}") as straight,
            scene.containerd(release, 2 * number + 1, mirror="http://127.0.0.1:3172") as behind,
        ):
            for name in names:
                for containerd in (straight, behind):
                    await containerd.images.pull(f"origin.lab/{name}")
            assert await _content(straight) == await _content(behind), release


async def _content(containerd: Containerd) -> frozenset[str]:
    return frozenset((await containerd.ctr("content", "ls", "--quiet")).split())


@pytest.mark.parametrize("client", NAMES)
async def test_other_clients_get_the_same_of_every_registry(scene: Scene, client: str) -> None:
    program = await obtain_client(client, scene.namespace)
    names = await scene.push_for("other")
    if client != "podman":  # which takes nothing but images
        names += await scene.push(make_artifact(scene.folder / "chart", helm_chart()), "charts/demo")
    for number, name in enumerate(names):
        through = await program.pull(scene.through, name, scene.folder / f"through{number}")
        straight = await program.pull(scene.address, name, scene.folder / f"straight{number}")
        assert straight, name
        assert through == straight, name
