"""Whether an endpoint has an image, all of it and right; and filling a cache that does not."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from registryd.commands.prefetch import prefetch
from registryd.commands.verify import verify
from registryd.failures import CommandFailed
from registryd.inventory.lists import ImageName
from registryd.inventory.looking import Looker
from registryd.oci.platform import Platform
from registryd.upstream.client import open_client
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.proxies import Proxies
from tests.fakes.images import OCI_LAYER, SampleImage, document_of, oci_image, raw_descriptor
from tests.fakes.upstream import FakeUpstream, open_upstream
from tests.fakes.wordy import WordyUpstream, open_wordy

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.inventory.outcome import ImageOutcome
    from registryd.oci.reference import Registry
    from tests.caching.world import World

AMD, ARM = oci_image(layers=(b"amd64",)), oci_image(layers=(b"arm64",))
NAME = ImageName.parse("registry.example/demo/app:v1")


def add_index(upstream: FakeUpstream) -> None:
    """An image for two platforms."""
    platforms = {"amd64": AMD, "arm64": ARM}
    entries = [
        raw_descriptor(image.target, platform={"os": "linux", "architecture": name})
        for name, image in platforms.items()
    ]
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    )
    for image in platforms.values():
        upstream.add("demo/app", image)
    for reference in ("v1", str(target.digest)):
        upstream.manifests["demo/app", reference] = (target.media_type, data)


def layer(image: SampleImage) -> str:
    return str(image.digest_of(OCI_LAYER))


class Silent:
    def advanced(self, count: int) -> None:
        pass

    def finished(self, outcome: ImageOutcome) -> None:
        pass

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        pass


async def look(upstream: FakeUpstream | WordyUpstream, *platforms: str, hashes: bool = True) -> ImageOutcome:
    async with open_client(clock=time.monotonic, proxies=Proxies()) as client:
        wanted = [Platform.parse(name) for name in platforms]
        looker = Looker(client, Endpoint.parse(upstream.url), Silent(), platforms=wanted, parallel=2, hashes=hashes)
        [outcome] = await looker.look_at([NAME])
        return outcome


async def test_a_whole_image_lacks_nothing() -> None:
    async with open_upstream() as upstream:
        add_index(upstream)
        outcome = await look(upstream, "linux/amd64")
        assert (outcome.is_complete, outcome.pieces) == (True, 4)
        assert (await look(upstream)).pieces == 2 * 3 + 1 - 1  # the two share their config


@pytest.mark.parametrize("hashes", [True, False])
async def test_what_is_missing_is_named_if_the_platform_is_wanted(hashes: bool) -> None:
    async with open_upstream() as upstream:
        add_index(upstream)
        del upstream.blobs[layer(ARM)]
        assert (await look(upstream, "linux/amd64", hashes=hashes)).is_complete
        outcome = await look(upstream, "linux/arm64", hashes=hashes)
        assert [lacking.what for lacking in outcome.lacking] == [layer(ARM)]


async def test_damage_is_found_by_reading() -> None:
    async with open_upstream() as upstream:
        add_index(upstream)
        upstream.blobs[layer(AMD)] = b"AMD64"
        assert (await look(upstream, "linux/amd64", hashes=False)).is_complete
        [lacking] = (await look(upstream, "linux/amd64")).lacking
        assert (lacking.what, lacking.why) == (layer(AMD), "is damaged")


@pytest.mark.parametrize("late", [None, 0.005], ids=["at once", "late"])
async def test_an_endpoint_that_sends_a_body_for_a_head_lacks_nothing(late: float | None) -> None:
    contents = {str(digest): ("application/octet-stream", data) for digest, data in AMD.blobs.items()}
    for reference in ("v1", str(AMD.target.digest)):
        contents[reference] = (AMD.target.media_type, AMD.manifest)
    async with open_wordy(WordyUpstream(contents, late=late)) as upstream:
        assert (await look(upstream, hashes=False)).is_complete


async def test_a_platform_that_the_image_is_not_for() -> None:
    async with open_upstream() as upstream:
        add_index(upstream)
        [lacking] = (await look(upstream, "linux/riscv64")).lacking
        assert lacking.what == "linux/riscv64"


async def test_an_image_that_is_not_there() -> None:
    async with open_upstream() as upstream:
        [lacking] = (await look(upstream)).lacking
        assert (lacking.what, "404" in lacking.why) == ("v1", True)


# The commands


@pytest.fixture
def images(tmp_path: Path) -> str:
    path = tmp_path / "images.txt"
    path.write_text(f"{NAME}\n")
    return str(path)


async def test_a_cache_is_filled_and_then_has_it_all(
    world: World,
    images: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        assert await verify(images=[images], from_=client.url, platform=["all"]) == 1
        assert world.upstream.seen == []
        assert await prefetch(images=[images], into=client.url, platform=["all"]) == 0
        fetched = len(world.upstream.seen)
        capsys.readouterr()
        assert await prefetch(images=[images], into=client.url, platform=["all"]) == 0
        assert len(world.blob_gets()) == 3
        assert len(world.upstream.seen) == fetched + 1  # the tag was checked
        del world.upstream.blobs[layer(AMD)]
        capsys.readouterr()
        assert await verify(images=[images], from_=client.url, platform=["all"], json=True) == 0
        assert json.loads(capsys.readouterr().out)["images"][0]["pieces"] == 6


async def test_what_cannot_be_had_is_said(
    world: World,
    images: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_index(world.upstream)
    del world.upstream.blobs[layer(AMD)]
    async with world.caching() as client:
        assert await prefetch(images=[images], into=client.url, platform=["linux/amd64"]) == 1
    said = capsys.readouterr()
    assert "1 image, 1 incomplete" in said.out
    assert "upstreams.allow" not in said.out + said.err


async def test_a_registry_that_the_cache_may_not_ask_is_asked_about(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images.txt").write_text("elsewhere.lab/app:v1\n")
    async with world.caching() as client:
        assert await prefetch(images=[str(tmp_path / "images.txt")], into=client.url) == 1
    said = capsys.readouterr()
    assert "elsewhere.lab is not among the registries of this cache (upstreams.allow)" in said.out


@pytest.mark.parametrize("platform", [["linux"], ["linux/arm/v7/more"]])
async def test_a_platform_that_is_none_is_one_line(images: str, platform: list[str]) -> None:
    with pytest.raises(CommandFailed, match="os/architecture"):
        await verify(images=[images], from_="http://127.0.0.1:1", platform=platform)
