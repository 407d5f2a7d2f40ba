"""A local registry on loopback, over sources in memory, and a client that shows exactly what came over the wire."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.content.lookup import Lookup, Origin
from registryd.content.names import NameLookup
from registryd.content.naming_rules import NamingRules
from registryd.notation import Address
from registryd.observability.metrics import Metrics
from registryd.serving.listener import open_door
from registryd.serving.locating import PathLocator
from registryd.serving.policy import ModePolicy
from registryd.serving.referring import KnownReferrers
from registryd.serving.registry import RegistryDoor
from tests.fakes.entitled import given
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from registryd.content.aftermath import Aftermath
    from registryd.content.source import NameSource
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Reference, Repository
    from registryd.oci.reference import Registry as RegistryName
    from registryd.serving.admission import Admission
    from tests.fakes.entitled import PlainStore

LOOPBACK = Address("127.0.0.1", 0)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Talks to one door; nothing is decompressed, retried or followed."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self.address = address
        self._session = session

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, f"http://{self.address}{path}", headers=named) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, path: str, document: Mapping[str, object]) -> Answer:
        async with self._session.post(f"http://{self.address}{path}", json=document) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post_raw(self, path: str, body: bytes, **headers: str) -> Answer:
        named = {"Content-Type": "application/json", **headers}
        async with self._session.post(f"http://{self.address}{path}", data=io.BytesIO(body), headers=named) as response:
            return Answer(response.status, response.headers, await response.read())

    async def head(self, path: str, **headers: str) -> Answer:
        return await self.get(path, method="HEAD", **headers)


@asynccontextmanager
async def client_of(address: Address) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Client(session, address)


@dataclass
class FakePublicWord:
    """An upstream that says what a test lets it say."""

    reachable: bool = True
    public: bool = False
    asked: list[str] = field(default_factory=list)

    async def is_reachable(self, registry: RegistryName) -> bool:
        self.asked.append(str(registry))
        return self.reachable

    async def learn(self, repository: Repository, reference: Reference) -> None:
        self.asked.append(f"{repository} {reference} for later")

    async def gives(self, repository: Repository, digest: Digest) -> bool | None:
        self.asked.append(f"{repository} {digest}")
        return self.public if self.reachable else None

    async def is_public(self, repository: Repository) -> bool:
        self.asked.append(f"{repository}")
        return self.public

    def remembers_public(self, repository: Repository) -> bool:
        return self.public


@dataclass
class Registry:
    """What the door under test is made of, to be changed before `serving`."""

    local: PlainStore = field(default_factory=MemorySource)
    cluster: PlainStore = field(default_factory=MemorySource)
    names: list[NameSource] = field(default_factory=list)
    authorization: AuthorizationSettings = field(
        default_factory=lambda: AuthorizationSettings(mode=AuthorizationMode.OPEN)
    )
    public: FakePublicWord = field(default_factory=FakePublicWord)
    admission: Admission | None = None
    aftermath: Aftermath | None = None
    metrics: Metrics = field(default_factory=Metrics)
    first_byte_timeout_seconds: float = 5.0
    platforms: Sequence[Platform] = ()
    default: RegistryName | None = None

    def exclude(self, *patterns: str) -> None:
        self.authorization = replace(self.authorization, exclude=patterns)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        lookup = Lookup({Origin.LOCAL: given(self.local), Origin.PEER: given(self.cluster)})
        names = NameLookup(self.names, timeout_seconds=1)
        policy = ModePolicy(NamingRules(self.authorization), self.public)
        bound = self.first_byte_timeout_seconds
        seek = partial(
            PathLocator, names=names, policy=policy, first_byte_timeout_seconds=bound, platforms=self.platforms
        )
        door = RegistryDoor(
            locator=seek(lookup=lookup),
            local=seek(lookup=Lookup({Origin.LOCAL: given(self.local)})),
            lists=KnownReferrers(lookup=lookup, names=names, policy=policy, first_byte_timeout_seconds=bound),
            default=self.default,
            metrics=self.metrics,
            admission=self.admission,
            aftermath=self.aftermath,
        )
        async with open_door(door.handle, LOOPBACK) as opened, client_of(opened.address) as client:
            yield client

    def counted(self, sample: str) -> float:
        """The value of one sample of /metrics, written as it stands there."""
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(sample + " "):
                return float(line.split()[-1])
        raise AssertionError(f"{sample} is not among the metrics")


@pytest.fixture
def registry() -> Registry:
    return Registry()
