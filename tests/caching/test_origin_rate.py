"""`cache.max_origin_rate`: what a cache takes from its upstreams, for all clients together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.oci.digest import Digest
from tests.fakes.images import oci_image, sample_bytes

if TYPE_CHECKING:
    from tests.caching.world import World

MIB = 1 << 20


async def test_two_clients_get_no_more_together_than_the_rate_and_stored_content_is_free(world: World) -> None:
    world.cache = replace(world.cache, max_origin_rate=MIB)
    layers = [sample_bytes(MIB, seed=number) for number in (1, 2)]
    paths = []
    for number, layer in enumerate(layers):
        world.upstream.add(f"demo/app{number}", oci_image(layers=(layer,)))
        paths.append(f"demo/app{number}/blobs/{Digest.of(layer)}")
    loop = asyncio.get_running_loop()
    async with world.caching() as client:
        began = loop.time()
        answers = await asyncio.gather(*(client.get(path) for path in paths))
        seconds = loop.time() - began
        assert [answer.body for answer in answers] == layers
        # Two seconds, but for the burst at the beginning and the last piece of each, which nobody waits for.
        assert seconds > 1.0
        asked = len(world.blob_gets())
        assert [(await client.get(path)).body for path in paths] == layers
        assert len(world.blob_gets()) == asked
