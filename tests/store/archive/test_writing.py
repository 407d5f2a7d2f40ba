"""Exporting archives: complete, always the same, and whole again after an import elsewhere."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.oci.reference import DigestedName
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.store.archive.writing import plan_archive, write_archive
from tests.contracts.content_store import is_known
from tests.fakes.images import OCI_LAYER, docker_image, helm_chart, oci_image, oci_index, sample_bytes
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.reference import FullName
    from tests.fakes.images import SampleImage
    from tests.store.archive.conftest import Importer


async def export(source: MemorySource, *images: SampleImage, partly: bool = False) -> bytes:
    return await export_named(source, {image.name: image.target for image in images}, partly=partly)


async def export_named(source: MemorySource, images: Mapping[FullName, Descriptor], *, partly: bool = False) -> bytes:
    out = io.BytesIO()
    plan = await plan_archive(source, images, partly=partly)
    assert not plan.left_out
    await write_archive(out.write, source, plan)
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
    await importer.read(await export_named(source, {image.name: target}))
    assert (await importer.store.find(digest)).media_type == OCI_LAYER


async def test_an_image_that_lacks_a_layer_is_left_out_and_the_layer_named() -> None:
    image, other = oci_image(), helm_chart()
    source = MemorySource(image, other)
    layer = image.digest_of(OCI_LAYER)
    source.remove(layer)
    for partly in (False, True):
        plan = await plan_archive(source, {each.name: each.target for each in (image, other)}, partly=partly)
        assert plan.images == {other.name: other.target}
        assert set(plan.contents.there) == set(other.blobs)
        [(name, fault)] = plan.left_out.items()
        assert (name, str(layer) in fault) == (image.name, True)


async def test_lacking_platform_is_refused_unless_part_is_wanted(importer: Importer) -> None:
    image = oci_index()
    [absent] = image.absent
    plan = await plan_archive(MemorySource(image), {image.name: image.target})
    assert str(absent) in plan.left_out[image.name]
    await importer.read(await export(MemorySource(image), image, partly=True))
    assert await is_known(importer.store, image)


async def test_damaged_content_is_noticed() -> None:
    image = oci_image(layers=(b"as it was",))
    source = MemorySource(image)
    source.add(Digest.of(b"as it was"), b"as it is!", media_type=OCI_LAYER)
    with pytest.raises(ArchiveIncomplete, match="damaged"):
        await export(source, image)
    assert source.left_open == 0


async def test_names_by_digest_come_back(importer: Importer) -> None:
    image = oci_image()
    by_digest = DigestedName(image.name.repository, image.target.digest)
    await importer.read(await export_named(MemorySource(image), {image.name: image.target, by_digest: image.target}))
    for name in (image.name, by_digest):
        [known] = await importer.store.resolve(name)
        assert known.target == image.target


async def test_what_has_no_name_goes_along_without_one(importer: Importer) -> None:
    image, other = oci_image(), helm_chart()
    source = MemorySource(image, other)
    plan = await plan_archive(source, {image.name: image.target}, unnamed=[other.target])
    out = io.BytesIO()
    await write_archive(out.write, source, plan)
    imported = await importer.read(out.getvalue())
    assert (imported.images, imported.unnamed) == ({image.name: image.target}, (other.target,))
    assert (await importer.store.find(other.target.digest)).size == other.target.size
