"""Docker with both of its stores: what it pulls from a registry as its mirror, it pulls from the cache as well."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from lab.cache import running_cache
from lab.docker import STORES, running_docker
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.origin import running_origin
from lab.push import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from lab.docker import Store
    from lab.network import Network
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REGISTRY = "127.0.0.1:5000"
LAYERS = (LayerRecipe(300_000), LayerRecipe(2_000))


@pytest.mark.parametrize("store", STORES)
async def test_docker_pulls_from_the_cache_as_from_a_registry(
    store: Store, network: Network, folder: Path, newest: Release
) -> None:
    """The classic store names no registry at all: the cache has a default for that."""
    host = await network.add_host("all")
    namespace = host.namespace
    changes: Table = {
        "registry": {"default": "docker.io"},
        "upstreams": {"registries": {"docker.io": {"url": f"http://{REGISTRY}"}}},
    }
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_origin(folder / "o", address=REGISTRY, namespace=namespace))
        names = []
        for repository in ("library/box", "user/thing"):
            image = make_image(folder / repository, ImageRecipe(LAYERS, seed=repository))
            await Repository(f"http://{REGISTRY}/v2/{repository}", namespace).push(image)
            names += [f"{repository}:v1", f"{repository}@{image.root.digest}"]
        cache = running_cache(folder / "c", listen="127.0.0.1:3172", changes=changes, namespace=namespace)
        await stack.enter_async_context(cache)
        engines = []
        for name, mirror in (("straight", f"http://{REGISTRY}"), ("behind", "http://127.0.0.1:3172")):
            place = folder / name
            opening = running_docker(place, store=store, mirror=mirror, containerd=newest, namespace=namespace)
            engines.append(await stack.enter_async_context(opening))
        for name in names:
            for engine in engines:
                await engine.pull(name)
            straight, behind = [await engine.layers(name) for engine in engines]
            assert len(behind) == len(LAYERS)
            assert straight == behind
