"""A cache that is killed at any moment: no wrong byte is ever served, and nothing is left behind.

Ten times in the test suite, each time at the same moments (`lab.chance`); `KILLS=100 SEED=random pytest
e2e/test_cache_crashes.py` for a night's rest.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from lab.cache import running_cache
from lab.chance import chosen_seed
from lab.commands import run
from lab.errors import PullError
from lab.fetch import Request
from lab.http_pull import pull_over_http
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace
from lab.origin import running_origin
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from lab.agent import Agent
    from lab.images import Image
    from lab.toml_text import Table

KILLS = int(os.environ.get("KILLS", "10"))
pytestmark = pytest.mark.timeout(300 + 10 * KILLS)

LIMIT = 24 * MIB  # of 8 images with 4 MiB each, so that evictions are interrupted too
IMAGES = 8
_PULLERS = 4


def some_images(folder: Path) -> list[Image]:
    recipes = [
        ImageRecipe(
            layers=(LayerRecipe(2 * MIB), LayerRecipe(2 * MIB)), architectures=("amd64",), seed=f"kill-{number}"
        )
        for number in range(IMAGES)
    ]
    return [make_image(folder / str(number), recipe) for number, recipe in enumerate(recipes)]


async def pull_on(cache: Agent, chance: random.Random) -> None:
    """Pull until the cache dies. Raises PullError when it gave wrong bytes."""
    with suppress(OSError):
        while True:
            await pull_over_http(cache, f"origin.lab/demo/app{chance.randrange(IMAGES)}:v1")


async def test_killed_at_random_moments(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: object
) -> None:
    assert callable(unused_tcp_port_factory)
    origin_port, port, admin = (unused_tcp_port_factory() for _ in range(3))
    images = some_images(tmp_path_factory.mktemp("images"))
    seed = chosen_seed()
    print(f"seed: {seed}", flush=True)
    moments = random.Random(seed)
    chances = [random.Random(f"{seed}: {number}") for number in range(_PULLERS)]  # whose turns come as they come
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        origin = await stack.enter_async_context(running_origin(folder / "o", address=f"127.0.0.1:{origin_port}"))
        for number, image in enumerate(images):
            await origin.push(image, f"demo/app{number}")
        changes: Table = {
            "upstreams": {"registries": {"origin.lab": {"url": origin.url}}},
            "cache": {"size_limit": f"{LIMIT // MIB}MiB", "min_age": "0s"},
            "admin": {"listen": f"127.0.0.1:{admin}"},
        }
        cache = await stack.enter_async_context(
            running_cache(folder / "c", listen=f"127.0.0.1:{port}", changes=changes)
        )
        store = folder / "c" / "store"
        for _ in range(KILLS):
            pulls = asyncio.gather(*(pull_on(cache, chance) for chance in chances))
            await asyncio.sleep(moments.uniform(0.0, 1.5))
            await cache.kill()
            await pulls
            await check_sound(store)
            await cache.start()
            assert not list(store.glob("ingest/*/sha256-*"))
        await check_served(cache, store)
        await cache.stop()
    print(f"killed {KILLS} times")


async def check_sound(store: Path) -> None:
    """By the program itself, and by ourselves."""
    said = await run(sys.executable, "-m", "registryd", "cache", "fsck", "--store.directory", str(store))
    assert "all sound" in said
    for path in store.glob("blobs/sha256/*"):
        assert Digest.of(path.read_bytes()).encoded == path.name


async def check_served(cache: Agent, store: Path) -> None:
    for path in store.glob("blobs/sha256/*"):
        answer = await cache.ask_registry(Request(f"/v2/demo/app0/blobs/sha256:{path.name}?ns=origin.lab"))
        assert Digest.of(answer.body).encoded == path.name


def test_pull_errors_are_not_suppressed() -> None:
    assert not issubclass(PullError, OSError)
