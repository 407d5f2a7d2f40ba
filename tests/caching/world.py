"""A cache on loopback with fake upstreams behind it, all in this process, and a client that sees what is sent."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import aiohttp

from registryd.agent.cache import open_cache
from registryd.caching.patience import CachePatience
from registryd.config.agent import AdminSettings, AuthorizationSettings, RegistrySettings, Settings, StoreSettings
from registryd.config.cache import CacheSettings, RegistryUpstream, UpstreamsSettings
from registryd.notation import Address
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

LOOPBACK = Address("127.0.0.1", 0)
REGISTRY = "registry.example"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def cache_status(self) -> str:
        return self.headers.get("Cache-Status", "")


class Client:
    """Asks a cache; a body that ends early is an answer too."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self.session = session
        self.url = f"http://{address}"

    async def get(self, path: str, *, method: str = "GET", ns: str | None = REGISTRY, **headers: str) -> Answer:
        url = f"{self.url}/v2/{path}" + (f"?ns={ns}" if ns else "")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=named) as response:
            body = bytearray()
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
            except aiohttp.ClientPayloadError:
                return Answer(response.status, response.headers, bytes(body), is_whole=False)
            return Answer(response.status, response.headers, bytes(body))

    async def head(self, path: str, **headers: str) -> Answer:
        return await self.get(path, method="HEAD", **headers)


@dataclass
class World:
    """What the cache under test is made of, to be changed before `caching`."""

    root: Path
    upstream: FakeUpstream
    cache: CacheSettings = field(default_factory=lambda: CacheSettings(listen=LOOPBACK, keep_free=0))
    table: RegistryUpstream = field(default_factory=RegistryUpstream)
    authorization: AuthorizationSettings = field(default_factory=AuthorizationSettings)
    more: dict[str, RegistryUpstream] = field(default_factory=dict)
    admin: Address = LOOPBACK
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    patience: CachePatience = field(default_factory=CachePatience)

    @property
    def settings(self) -> Settings:
        table = self.table if self.table.url else replace(self.table, url=self.upstream.url)
        return Settings(
            registry=self.registry,
            cache=self.cache,
            authorization=self.authorization,
            upstreams=UpstreamsSettings(allow=(), registries={REGISTRY: table, **self.more}),
            store=StoreSettings(directory=self.root),
            admin=AdminSettings(listen=self.admin),
        )

    @asynccontextmanager
    async def caching(self) -> AsyncIterator[Client]:
        connector = aiohttp.TCPConnector(limit=0)
        # The session outlives the cache, whose end its readers then see.
        session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        async with session, open_cache(self.settings, patience=self.patience) as cache:
            yield Client(session, cache.address)

    def blob_gets(self) -> list[str]:
        """The blobs that the upstream was asked for, once for every time."""
        return [seen.path for seen in self.upstream.seen if seen.method == "GET" and "/blobs/" in seen.path]

    def requests(self, method: str, kind: str) -> int:
        return sum(seen.method == method and f"/{kind}/" in seen.path for seen in self.upstream.seen)

    def stored(self) -> set[str]:
        return {path.name for path in self.root.glob("blobs/*/*")}


@asynccontextmanager
async def new_world(root: Path) -> AsyncIterator[World]:
    """A cache to be, in that directory, and its upstream, which runs."""
    async with open_upstream() as upstream:
        yield World(root, upstream)


async def until(holds: object, *, seconds: float = 30.0) -> None:
    """Wait for what another task does."""
    assert callable(holds)
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - it may be a file that is waited for
            await asyncio.sleep(0.005)
