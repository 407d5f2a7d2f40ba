"""Signatures and the like are brought along, and looked for where they should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from registryd.commands.prefetch import prefetch
from registryd.commands.verify import verify
from registryd.failures import CommandFailed
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.referrers import parse_referrers, referrers_tag
from tests.caching.world import REGISTRY
from tests.fakes.images import SampleImage, document_of, oci_image, raw_descriptor, signature_of
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.caching.world import World
    from tests.fakes.upstream import FakeUpstream

IMAGE = oci_image(f"{REGISTRY}/demo/app:v1")
SIGNATURE = signature_of(IMAGE)
AWAY = answering(503)


def put(upstream: FakeUpstream, image: SampleImage, *tags: str) -> None:
    for digest, data in image.blobs.items():
        upstream.blobs[str(digest)] = data
    for reference in (str(image.target.digest), *tags):
        upstream.manifests["demo/app", reference] = (image.target.media_type, image.manifest)


def attach(upstream: FakeUpstream, subject: SampleImage, *artifacts: SampleImage) -> None:
    upstream.referrers = upstream.referrers or {}
    key = ("demo/app", str(subject.target.digest))
    upstream.referrers[key] = [raw_descriptor(artifact.target, artifactType="application/x") for artifact in artifacts]
    for artifact in artifacts:
        put(upstream, artifact)


@pytest.fixture
def listed(tmp_path: Path) -> str:
    path = tmp_path / "images.txt"
    path.write_text(f"{REGISTRY}/demo/app:v1\n")
    return str(path)


@pytest.fixture
def fill(listed: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def fill(url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = await prefetch(images=[listed], into=url, platform=["all"], json=True, referrers=True, **more)
        return code, json.loads(capsys.readouterr().out)["images"][0]

    return fill


@pytest.fixture
def check(listed: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def check(url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = await verify(images=[listed], from_=url, platform=["all"], json=True, referrers=True, **more)
        return code, json.loads(capsys.readouterr().out)["images"][0]

    return check


async def test_what_is_attached_comes_along_and_is_there_in_an_outage(
    world: World, fill: Callable[..., Any], check: Callable[..., Any]
) -> None:
    put(world.upstream, IMAGE, "v1")
    attach(world.upstream, IMAGE, SIGNATURE)
    async with world.caching() as client:
        code, image = await fill(client.url)
        assert (code, image["complete"], image["attached"]) == (0, True, 1)
        world.upstream.character = AWAY
        code, image = await check(client.url)
        assert (code, image["complete"], image["attached"]) == (0, True, 1)
        for digest in SIGNATURE.blobs:
            kind = "manifests" if digest == SIGNATURE.target.digest else "blobs"
            assert (await client.get(f"demo/app/{kind}/{digest}")).body == SIGNATURE.blobs[digest]


async def test_without_the_flag_nothing_is_asked_for(world: World, listed: str) -> None:
    put(world.upstream, IMAGE, "v1")
    attach(world.upstream, IMAGE, SIGNATURE)
    async with world.caching() as client:
        assert await prefetch(images=[listed], into=client.url, platform=["all"]) == 0
    assert not world.upstream.count("/v2/demo/app/referrers/")
    assert str(SIGNATURE.target.digest).replace("sha256:", "") not in world.stored()


async def test_that_nothing_is_attached_is_known_afterwards(
    world: World, fill: Callable[..., Any], check: Callable[..., Any]
) -> None:
    put(world.upstream, IMAGE, "v1")
    async with world.caching() as client:
        code, image = await fill(client.url)
        assert (code, image["attached"]) == (0, 0)
        world.upstream.character = AWAY
        code, image = await check(client.url)
    assert (code, image["attached"]) == (0, 0)


async def test_a_cache_that_was_not_told_does_not_claim_that_nothing_is_attached(
    world: World, listed: str, check: Callable[..., Any]
) -> None:
    put(world.upstream, IMAGE, "v1")
    async with world.caching() as client:
        assert await prefetch(images=[listed], into=client.url, platform=["all"]) == 0
        code, image = await check(client.url)
    assert code == 1
    assert "not known here" in image["lacking"][0]["why"]


async def test_a_registry_without_the_api_has_a_tag(
    world: World, fill: Callable[..., Any], check: Callable[..., Any]
) -> None:
    put(world.upstream, IMAGE, "v1")
    put(world.upstream, SIGNATURE)
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [raw_descriptor(SIGNATURE.target)]}
    )
    for reference in (referrers_tag(IMAGE.target.digest).name, str(target.digest)):
        world.upstream.manifests["demo/app", reference] = (OCI_INDEX, data)
    async with world.caching() as client:
        assert (await fill(client.url))[1]["attached"] == 1
        world.upstream.character = AWAY
        assert (await check(client.url))[1]["attached"] == 1
    # The same asked of the registry itself.
    world.upstream.character = None
    assert (await check(world.upstream.url, fetch=True))[1]["attached"] == 1


async def test_cosigns_tags_belong_to_it(world: World, fill: Callable[..., Any], check: Callable[..., Any]) -> None:
    put(world.upstream, IMAGE, "v1")
    signed = oci_image(f"{REGISTRY}/demo/app:sig", layers=(b"a signature",))
    tag = f"sha256-{IMAGE.target.digest.encoded}.sig"
    put(world.upstream, signed, tag)
    async with world.caching() as client:
        assert (await fill(client.url))[1]["attached"] == 1
        world.upstream.character = AWAY
        assert (await check(client.url))[1]["attached"] == 1
        assert (await client.get(f"demo/app/manifests/{tag}")).body == signed.manifest
        listed = await client.get(f"demo/app/referrers/{signed.target.digest}")
        assert (listed.status, parse_referrers(listed.body)) == (200, []), "regctl asks for those of a signature too"


async def test_what_is_attached_to_that_or_to_one_platform_comes_too(world: World, fill: Callable[..., Any]) -> None:
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [raw_descriptor(IMAGE.target)]}
    )
    index = SampleImage(IMAGE.name, target, {target.digest: data, **IMAGE.blobs}, {})
    bill = signature_of(IMAGE, kind="application/vnd.example.sbom")
    put(world.upstream, IMAGE)
    put(world.upstream, index, "v1")
    attach(world.upstream, IMAGE, bill)
    attach(world.upstream, bill, signature_of(bill))
    async with world.caching() as client:
        assert (await fill(client.url))[1]["attached"] == 2


async def test_things_that_are_attached_to_each_other_end(world: World, fill: Callable[..., Any]) -> None:
    put(world.upstream, IMAGE, "v1")
    attach(world.upstream, IMAGE, SIGNATURE)
    attach(world.upstream, SIGNATURE, IMAGE, SIGNATURE)
    async with world.caching() as client:
        assert (await fill(client.url))[1]["attached"] == 1


async def test_what_of_it_cannot_be_had_is_named(world: World, fill: Callable[..., Any]) -> None:
    put(world.upstream, IMAGE, "v1")
    attach(world.upstream, IMAGE, SIGNATURE)
    payload = list(SIGNATURE.blobs)[-1]
    del world.upstream.blobs[str(payload)]
    async with world.caching() as client:
        code, image = await fill(client.url)
    assert code == 1
    assert [lacking["what"] for lacking in image["lacking"]] == [str(payload)]


async def test_the_table_says_how_much_is_attached(
    world: World, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(world.upstream, IMAGE, "v1")
    attach(world.upstream, IMAGE, SIGNATURE)
    async with world.caching() as client:
        assert await prefetch(images=[listed], into=client.url, platform=["all"], referrers=True) == 0
    shown = capsys.readouterr().out
    assert "attached" in shown


async def test_a_containerd_is_not_given_what_it_does_not_keep(listed: str) -> None:
    with pytest.raises(CommandFailed, match="--referrers"):
        await prefetch(images=[listed], into="containerd", referrers=True)
