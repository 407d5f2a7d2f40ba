"""What the local registry tells the aftermath of deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.aio.scope import open_scope
from registryd.content.aftermath import Aftermath
from registryd.oci.digest import Digest
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from tests.serving.conftest import Registry

DATA = b"a layer that peers gave"
DIGEST = Digest.of(DATA)
BLOB = f"/v2/demo/app/blobs/{DIGEST}?ns=registry.example"
CONTAINERD = {"User-Agent": "containerd/2.4.2"}


@dataclass
class FakeGivers:
    """Remembers the verdicts."""

    verdicts: list[str] = field(default_factory=list)

    def await_verdict(self, digest: Digest) -> bool:
        return digest == DIGEST

    def kept(self, digest: Digest) -> None:
        self.verdicts.append("kept")

    def thrown_away(self, digest: Digest) -> None:
        self.verdicts.append("thrown away")

    def suspected(self, digest: Digest) -> None:
        self.verdicts.append("suspected")


async def verdicts_after(registry: Registry, *ranges: str) -> list[str]:
    """What is known after these requests on one connection; an empty range asks for everything."""
    givers = FakeGivers()
    async with open_scope() as scope:
        registry.aftermath = Aftermath(MemorySource(), givers, scope)
        async with registry.serving() as client:
            for asked in ranges:
                await client.get(BLOB, **CONTAINERD, **({"Range": asked} if asked else {}))
    return givers.verdicts


def having(registry: Registry) -> Registry:
    registry.cluster = source = MemorySource()
    source.add(DIGEST, DATA)
    return registry


async def test_who_asks_again_from_the_start_threw_it_away(registry: Registry) -> None:
    assert await verdicts_after(having(registry), "", "") == ["thrown away"]


async def test_who_used_the_connection_again_had_read_all_of_it(registry: Registry) -> None:
    """containerd asks for the next layer by the same connection, and cancels that when this one turns out wrong."""
    givers = FakeGivers()
    async with open_scope() as scope:
        having(registry).aftermath = Aftermath(MemorySource(), givers, scope)
        async with registry.serving() as client:
            await client.get(BLOB, **CONTAINERD)
            await client.get("/v2/")
        assert not givers.verdicts
        async with registry.serving() as client:
            await client.get(BLOB, **CONTAINERD)
    assert givers.verdicts == ["thrown away"]


async def test_only_a_containerd_is_to_keep_what_it_is_given(registry: Registry) -> None:
    """curl and skopeo keep it elsewhere, and use their connections again."""
    givers = FakeGivers()
    async with open_scope() as scope:
        having(registry).aftermath = Aftermath(MemorySource(), givers, scope)
        async with registry.serving() as client:
            for _ in range(3):
                await client.get(BLOB, **{"User-Agent": "skopeo/1.9.3"})
    assert not givers.verdicts


async def test_who_did_not_has_perhaps_cancelled_the_pull(registry: Registry) -> None:
    givers = FakeGivers()
    async with open_scope() as scope:
        having(registry).aftermath = Aftermath(MemorySource(), givers, scope)
        for verdicts in ([], [], ["suspected"]):  # each request settles the one before
            async with registry.serving() as client:
                await client.get(BLOB, **CONTAINERD)
            assert givers.verdicts == verdicts


async def test_the_rest_of_content_completes_it(registry: Registry) -> None:
    assert await verdicts_after(having(registry), "bytes=5-", "bytes=0-") == ["thrown away"]


async def test_who_asks_for_parts_has_not_had_it_all(registry: Registry) -> None:
    assert await verdicts_after(having(registry), "bytes=0-4", "", "bytes=5-") == []


async def test_what_this_node_had_itself_is_not_watched(registry: Registry) -> None:
    registry.local = source = MemorySource()
    source.add(DIGEST, DATA)
    assert await verdicts_after(registry, "", "") == []
