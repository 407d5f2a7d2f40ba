"""What images are called in a cache's store: by the tags that they are pulled by, and by digest where there is none."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.caching.world import REGISTRY, until
from tests.fakes.images import OCI_CONFIG, document_of, oci_image, raw_descriptor
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from tests.caching.world import World
    from tests.fakes.upstream import FakeUpstream

AMD, ARM = oci_image(layers=(b"amd64",)), oci_image(layers=(b"arm64",))
INDEX_DATA, INDEX = document_of(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [raw_descriptor(AMD.target), raw_descriptor(ARM.target)],
    }
)


def add_index(upstream: FakeUpstream) -> None:
    for image in (AMD, ARM):
        upstream.add("demo/app", image)
    for reference in ("v1", str(INDEX.digest)):
        upstream.manifests["demo/app", reference] = (INDEX.media_type, INDEX_DATA)


def names(world: World) -> set[str]:
    document: dict[str, Any] = json.loads((world.root / "index.json").read_bytes())
    return {entry["annotations"]["io.containerd.image.name"] for entry in document["manifests"]}


BY_TAG = f"{REGISTRY}/demo/app:v1"
BY_DIGEST = f"{REGISTRY}/demo/app@{INDEX.digest}"


async def test_what_is_pulled_by_digest_is_named_by_it_and_its_platforms_are_not(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        for target in (INDEX, AMD.target):
            assert (await client.get(f"demo/app/manifests/{target.digest}")).status == 200
    assert names(world) == {BY_DIGEST}


async def test_what_is_pulled_by_tag_is_named_by_it_alone(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        # As containerd does, and as skopeo does.
        for first in ("HEAD", "GET"):
            assert (await client.get("demo/app/manifests/v1", method=first)).status == 200
            for target in (INDEX, AMD.target):
                assert (await client.get(f"demo/app/manifests/{target.digest}")).status == 200
    assert names(world) == {BY_TAG}


async def test_what_was_here_without_a_name_gets_one_when_its_registry_has_it(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        await client.get("demo/app/manifests/v1")
    (world.root / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    async with world.caching() as client:
        answer = await client.get(f"demo/app/manifests/{INDEX.digest}")
        assert answer.cache_status == "registryd; hit"
        await until(lambda: names(world) == {BY_DIGEST})
        asked = len(world.upstream.seen)
        await client.get(f"demo/app/manifests/{INDEX.digest}")
        assert len(world.upstream.seen) == asked


async def test_what_is_here_of_another_repository_gets_no_name_that_its_registry_does_not_know(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        await client.get("demo/app/manifests/v1")
        for _ in range(3):
            assert (await client.get(f"demo/other/manifests/{INDEX.digest}")).status == 200
        await until(lambda: world.upstream.count("/v2/demo/other") == 1)
    assert names(world) == {BY_TAG}
    assert world.upstream.count("/v2/demo/other") == 1


async def test_nothing_is_named_for_who_only_asks_what_is_here(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        await client.get("demo/app/manifests/v1")
        (world.root / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
        answer = await client.get(f"demo/app/manifests/{INDEX.digest}", Cache_Control="only-if-cached")
        assert answer.status == 200
    assert names(world) == set()


async def test_what_is_no_manifest_is_never_named(world: World) -> None:
    world.upstream.add("demo/app", AMD)
    config = AMD.digest_of(OCI_CONFIG)
    async with world.caching() as client:
        await client.get(f"demo/app/blobs/{config}")
        assert (await client.get(f"demo/app/manifests/{config}")).status == 404
    assert names(world) == set()


async def test_a_name_by_digest_does_not_depend_on_the_upstream_any_more(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        await client.get(f"demo/app/manifests/{INDEX.digest}")
        world.upstream.character = answering(500)
        assert (await client.get(f"demo/app/manifests/{INDEX.digest}")).status == 200
    assert names(world) == {BY_DIGEST}


async def test_the_same_image_of_several_repositories_at_once_is_named_in_each(world: World) -> None:
    """By tag or by digest, and where one of the registry's repositories does not have it, that is its own matter."""
    repositories = [f"demo/app{number}" for number in range(6)]
    for repository in repositories:
        world.upstream.add(repository, AMD)
    references = ["v1", str(AMD.target.digest)] * 3
    paths = [f"{repository}/manifests/{each}" for repository, each in zip(repositories, references, strict=True)]
    async with world.caching() as client:
        lacking = client.get(f"demo/none/manifests/{AMD.target.digest}")
        nothing, *answers = await asyncio.gather(lacking, *map(client.get, paths))
        assert nothing.status == 404
        assert {answer.status for answer in answers} == {200}
    assert names(world) == {
        f"{REGISTRY}/{repository}{':' if each == 'v1' else '@'}{each}"
        for repository, each in zip(repositories, references, strict=True)
    }
