"""What the cache stores is the repository's that gave it, and no other's for its digest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.caching.filing import Claims
from registryd.caching.upstreams import Upstreams
from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.config.cache import RegistryUpstream
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository
from registryd.upstream.answers import ManifestHead
from tests.caching.world import REGISTRY
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.caching.world import Client, World

SECRET = oci_image()
OTHER = "other.example"
MANIFEST = f"manifests/{SECRET.target.digest}"
BLOBS = tuple(f"blobs/{digest}" for digest in SECRET.blobs if digest != SECRET.target.digest)


@pytest.fixture
async def other() -> AsyncIterator[FakeUpstream]:
    """A registry of somebody who knows the digests, and has made a manifest of them."""
    async with open_upstream() as upstream:
        target = SECRET.target
        upstream.manifests["x", "steal"] = target.media_type, SECRET.manifest
        upstream.public.add("x")
        yield upstream


@pytest.fixture
def guarded(world: World, other: FakeUpstream, tmp_path: Path) -> World:
    """The upstream has a private image that the cache has a login for, and gives to its own clients."""
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o600)
    world.upstream.challenge = "basic"
    world.upstream.add("demo/private", SECRET, public=False)
    world.upstream.public.add("demo/public")
    world.table = RegistryUpstream(username="pull", password_file=password)
    world.more = {OTHER: RegistryUpstream(url=other.url)}
    world.authorization = AuthorizationSettings(registries={REGISTRY: AuthorizationMode.OPEN})
    return world


async def fill(client: Client) -> None:
    """Its own clients have pulled it."""
    for path in (MANIFEST, *BLOBS):
        assert (await client.get(f"demo/private/{path}")).status == 200


async def test_its_own_clients_are_given_it_without_asking_again(guarded: World) -> None:
    async with guarded.caching() as client:
        await fill(client)
        before = len(guarded.upstream.seen)
        await fill(client)
        assert len(guarded.upstream.seen) == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("ns", "repository"), [(REGISTRY, "demo/public"), (OTHER, "x"), (OTHER, "demo/private")])
async def test_a_digest_opens_nothing_under_another_name(guarded: World, method: str, ns: str, repository: str) -> None:
    async with guarded.caching() as client:
        await fill(client)
        # The upstream of the tests has its blobs in every repository.
        for path in (MANIFEST,) if ns == REGISTRY else (MANIFEST, *BLOBS):
            assert (await client.get(f"{repository}/{path}", ns=ns, method=method)).status in {401, 403, 404}, path


async def test_a_blob_that_no_manifest_of_the_repository_lists_is_asked_for(guarded: World) -> None:
    """Though it is the registry's: this cache stands for a registry that may not check manifests."""
    async with guarded.caching() as client:
        await fill(client)
        guarded.upstream.seen.clear()
        for path in BLOBS:
            await client.get(f"demo/public/{path}")
        asked = {seen.path for seen in guarded.upstream.seen}
        assert asked >= {f"/v2/demo/public/{path}" for path in BLOBS}


async def test_a_registry_of_ones_own_that_lists_it_gets_none_of_its_bytes(guarded: World) -> None:
    async with guarded.caching() as client:
        await fill(client)
        assert (await client.get("x/manifests/steal", ns=OTHER)).body == SECRET.manifest, "which is its own"
        for path in BLOBS:
            assert (await client.get(f"x/{path}", ns=OTHER)).status == 404, path


async def test_what_a_named_registry_says_it_has_is_given_after_one_question(
    guarded: World, other: FakeUpstream
) -> None:
    other.add("x", SECRET)
    async with guarded.caching() as client:
        await fill(client)
        for _ in range(2):
            for path in (MANIFEST, *BLOBS):
                assert (await client.get(f"x/{path}", ns=OTHER)).status == 200
        gets = [seen for seen in other.seen if seen.method == "GET"]
        heads = [seen.path for seen in other.seen if seen.method == "HEAD" and "/blobs/" in seen.path]
        assert not gets
        assert sorted(heads) == sorted(f"/v2/x/{path}" for path in BLOBS)


async def test_what_it_was_given_by_whom_is_known_after_a_restart(guarded: World) -> None:
    async with guarded.caching() as client:
        await fill(client)
    before = len(guarded.upstream.seen)
    async with guarded.caching() as client:
        await fill(client)
        assert len(guarded.upstream.seen) == before
        for path in (MANIFEST, *BLOBS):
            assert (await client.get(f"x/{path}", ns=OTHER)).status == 404


class AnybodysWord:
    """Upstreams that say of everything that they have it; `named` are those that the operator named."""

    def __init__(self, *named: Registry, answer: Digest | None = None) -> None:
        """`answer`: the manifest of which they say so, whatever they are asked for."""
        self.named = named
        self.answer = answer
        self.asked: list[Repository] = []

    def is_named(self, registry: Registry) -> bool:
        return registry in self.named

    async def head_blob(self, repository: Repository, _digest: Digest) -> int:
        self.asked.append(repository)
        return 1

    async def head_manifest(self, repository: Repository, digest: Digest) -> ManifestHead:
        self.asked.append(repository)
        return ManifestHead(digest=self.answer or digest, size=1, media_type=None)

    gives_manifest = Upstreams.gives_manifest


class Notes:
    def __init__(self) -> None:
        self.noted: list[Repository] = []

    async def note_source(self, _digest: Digest, repository: Repository) -> None:
        self.noted.append(repository)


@pytest.mark.parametrize("is_named", [True, False])
async def test_the_word_of_a_registry_that_nobody_named_proves_nothing(*, is_named: bool) -> None:
    theirs = Repository(Registry(OTHER), "x")
    word, notes = AnybodysWord(*([theirs.registry] if is_named else [])), Notes()
    claims = Claims(cast("Any", notes), cast("Any", word))
    assert await claims.claim_blob(theirs, SECRET.target.digest) is is_named
    assert await claims.claim_manifest(theirs, SECRET.target.digest) is is_named
    assert word.asked == notes.noted == [theirs, theirs] * is_named


async def test_what_a_registry_says_of_another_manifest_proves_nothing() -> None:
    theirs = Repository(Registry(OTHER), "x")
    notes, word = Notes(), AnybodysWord(theirs.registry, answer=Digest.of(b"another"))
    assert not await Claims(cast("Any", notes), cast("Any", word)).claim_manifest(theirs, SECRET.target.digest)
    assert not notes.noted
