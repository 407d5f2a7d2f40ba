"""The stage of the cache's tests: a host with registries, a host with a cache."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.cache import running_cache
from lab.http_pull import pull_over_http
from lab.leftovers import workspace
from lab.network import new_network
from lab.origin import running_origin
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from lab.agent import Agent
    from lab.images import Image
    from lab.network import Host, Network
    from lab.origin import Origin
    from lab.toml_text import Table

OPEN = {"authorization": {"mode": "open"}}


@dataclass(frozen=True)
class Stage:
    """A host with upstreams, a host with a cache; the upstreams share one storage."""

    folder: Path
    network: Network
    upstream_host: Host
    cache_host: Host
    origin: Origin

    @property
    def endpoint(self) -> str:
        return f"http://{self.cache_host.ipv4}:3172"

    @asynccontextmanager
    async def front(self, port: int, **options: object) -> AsyncIterator[Origin]:
        """Another registry over the same content."""
        folder = self.folder / f"front{port}"
        address = f"{self.upstream_host.ipv4}:{port}"
        namespace = self.upstream_host.namespace
        opening = running_origin(folder, address=address, namespace=namespace, storage=self.folder / "o", **options)  # type: ignore[arg-type]
        async with opening as front:
            yield front

    @asynccontextmanager
    async def cache(
        self, registries: Table, environment: Mapping[str, str] | None = None, /, **changes: object
    ) -> AsyncIterator[Agent]:
        """The cache, with these upstreams; `environment` is added to our own."""
        listen = f"{self.cache_host.ipv4}:3172"
        settings = merged({"upstreams": {"registries": registries}}, changes)  # type: ignore[arg-type]
        namespace = self.cache_host.namespace
        folder = self.folder / "c"
        opening = running_cache(folder, listen=listen, changes=settings, namespace=namespace, environment=environment)
        async with opening as cache:
            try:
                yield cache
            except BaseException:
                print(cache.process.log_tail())
                raise


@asynccontextmanager
async def new_stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        network = await stack.enter_async_context(new_network())
        upstreams, cache = await network.add_host("upstreams"), await network.add_host("cache")
        origin = running_origin(folder / "o", address=f"{upstreams.ipv4}:5000", namespace=upstreams.namespace)
        yield Stage(folder, network, upstreams, cache, await stack.enter_async_context(origin))


def transfers(origin: Origin) -> Counter[str]:
    return Counter(access.reference for access in origin.requests() if access.is_blob_transfer)


async def gave_once(origin: Origin, image: Image) -> bool:
    """Whether the registry gave each blob of the image once, and nothing else."""
    expected = Counter(digests(image))
    given = Counter(access.reference for access in await origin.blob_transfers(expected=expected.total()))
    if given != expected:
        print(f"given: {given}, expected: {expected}")
    return given == expected


def digests(image: Image) -> list[str]:
    return [image.local.config.digest, *(layer.digest for layer in image.local.layers)]


async def pull_at_once(cache: Agent, reference: str, count: int) -> None:
    await asyncio.gather(*(pull_over_http(cache, reference) for _ in range(count)))
