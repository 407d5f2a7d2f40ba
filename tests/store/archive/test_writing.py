"""Exporting archives: complete, always the same, and whole again after an import elsewhere."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.store.archive.writing import write_archive
from tests.contracts.content_store import is_known
from tests.fakes.images import OCI_LAYER, docker_image, helm_chart, oci_image, oci_index, sample_bytes
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from tests.fakes.images import SampleImage
    from tests.store.archive.conftest import Importer


async def export(source: MemorySource, *images: SampleImage, partly: bool = False) -> bytes:
    out = io.BytesIO()
    await write_archive(out.write, source, {image.name: image.target for image in images}, partly=partly)
    assert source.left_open == 0
    return out.getvalue()


async def test_round_trip(importer: Importer) -> None:
    images = [oci_image(layers=(b"", sample_bytes(1_500_000))), docker_image(), helm_chart()]
    await importer.read(await export(MemorySource(*images), *images))
    for image in images:
        assert await is_known(importer.store, image)


async def test_same_images_make_the_same_bytes() -> None:
    images = [oci_image(), docker_image(), helm_chart()]
    assert await export(MemorySource(*images), *images) == await export(MemorySource(*images[::-1]), *images[::-1])


async def test_shared_content_is_there_once() -> None:
    first, second = oci_image("registry.example/demo/app:v1"), oci_image("registry.example/demo/app:v2")
    with tarfile.open(fileobj=io.BytesIO(await export(MemorySource(first, second), first, second))) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names)) == 2 + len(first.blobs)


async def test_sha512_is_kept(importer: Importer) -> None:
    layer = b"long digest"
    digest = Digest.of(layer, algorithm="sha512")
    image = oci_image(layers=(layer,))
    manifest = image.manifest.replace(str(Digest.of(layer)).encode(), str(digest).encode())
    source = MemorySource(image)
    source.add(digest, layer, media_type=OCI_LAYER)
    target = type(image.target)(image.target.media_type, Digest.of(manifest), len(manifest))
    source.add(target.digest, manifest, media_type=target.media_type)
    out = io.BytesIO()
    await write_archive(out.write, source, {image.name: target})
    await importer.read(out.getvalue())
    assert (await importer.store.find(digest)).media_type == OCI_LAYER


async def test_lacking_layer_is_named_before_anything_is_written() -> None:
    image = oci_image()
    source = MemorySource(image)
    layer = image.digest_of(OCI_LAYER)
    source.remove(layer)
    for partly in (False, True):
        out = io.BytesIO()
        with pytest.raises(ArchiveIncomplete, match=str(layer)):
            await write_archive(out.write, source, {image.name: image.target}, partly=partly)
        assert out.getvalue() == b""


async def test_lacking_platform_is_refused_unless_part_is_wanted(importer: Importer) -> None:
    image = oci_index()
    [absent] = image.absent
    with pytest.raises(ArchiveIncomplete, match=str(absent)):
        await export(MemorySource(image), image)
    await importer.read(await export(MemorySource(image), image, partly=True))
    assert await is_known(importer.store, image)


async def test_damaged_content_is_noticed() -> None:
    image = oci_image(layers=(b"as it was",))
    source = MemorySource(image)
    source.add(Digest.of(b"as it was"), b"as it is!", media_type=OCI_LAYER)
    with pytest.raises(ArchiveIncomplete, match="damaged"):
        await export(source, image)
    assert source.left_open == 0
