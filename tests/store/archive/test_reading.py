"""Importing archives: sound ones of every kind, and those that must leave no trace."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import tarfile
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registryd.content.source import ContentNotFound
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import DigestedName, TaggedName
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.reading import read_archive
from registryd.store.directory.store import open_directory_store
from tests.contracts.content_store import is_known, read
from tests.fakes.archives import LAYOUT, ArchiveBuilder, archive_of
from tests.fakes.images import (
    OCI_CONFIG,
    OCI_LAYER,
    SampleImage,
    document_of,
    helm_chart,
    oci_image,
    oci_index,
    raw_descriptor,
    sample_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.archive.conftest import Importer

NAME = TaggedName.parse("registry.example/given/name:v9")

# ---- sound archives


@pytest.mark.parametrize("packed", [False, True])
async def test_images_come_in_with_their_names(importer: Importer, *, packed: bool) -> None:
    images = [oci_index(), helm_chart(), oci_image(layers=(sample_bytes(2_500_000),))]
    imported = await importer.read(archive_of(*images, packed=packed))
    assert imported.images == {image.name: image.target for image in images}
    for image in images:
        assert await is_known(importer.store, image)
        for digest, data in image.blobs.items():
            assert await read(importer.store, digest, Span.whole) == data


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_every_tar_format_is_understood(importer: Importer, tar_format: int) -> None:
    image = oci_image()
    builder = ArchiveBuilder(tar_format=tar_format).image(image).index(image)
    if tar_format != tarfile.USTAR_FORMAT:
        builder.file("x" * 300, b"a long name", mtime=1.5)
    await importer.read(builder.build())
    assert await is_known(importer.store, image)


async def test_pipe_is_read_as_it_comes(importer: Importer) -> None:
    image = oci_image(layers=(sample_bytes(500_000),))
    archive = archive_of(image, packed=True)
    reader, writer = os.pipe()
    feeding = asyncio.create_task(asyncio.to_thread(_feed, writer, archive))
    try:
        await read_archive(reader, importer.store)
    finally:
        os.close(reader)
        await feeding
    assert await is_known(importer.store, image)


async def test_absent_platforms_are_told(importer: Importer) -> None:
    image = oci_index()
    imported = await importer.read(archive_of(image))
    assert {missing.target.digest for missing in imported.contents.missing} == image.absent


async def test_name_is_given_to_the_only_image(importer: Importer) -> None:
    image = oci_image()
    await importer.read(ArchiveBuilder().image(image).index(image, name="v1").build(), name=NAME)
    [known] = await importer.store.resolve(NAME)
    assert known.target == image.target


# As crane, oras and others write index.json: nested, with the children of what is tagged, with short names.


def _listed(image: SampleImage, tag: str = "") -> dict[str, object]:
    annotations = {"annotations": {"org.opencontainers.image.ref.name": tag}} if tag else {}
    return raw_descriptor(image.target, **annotations)


def _archive(*images: SampleImage, index: list[dict[str, object]]) -> bytes:
    builder = ArchiveBuilder()
    written: set[object] = set()
    for image in images:
        builder.image(image, without=frozenset(written))
        written.update(image.blobs)
    document = {"schemaVersion": 2, "manifests": index}
    return builder.file("oci-layout", LAYOUT).file("index.json", json.dumps(document).encode()).build()


def _index_of(*images: SampleImage) -> SampleImage:
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_listed(image) for image in images]}
    )
    blobs = {target.digest: data, **{digest: blob for image in images for digest, blob in image.blobs.items()}}
    media_types = {target.digest: OCI_INDEX} | {d: t for image in images for d, t in image.media_types.items()}
    return SampleImage(NAME, target, blobs, media_types)


async def test_children_that_are_listed_besides_are_no_images_of_their_own(importer: Importer) -> None:
    platform, other = oci_image(), oci_image(layers=(b"of another platform",))
    index = _index_of(platform, other)
    archive = _archive(index, index=[_listed(index, "v9"), _listed(platform), _listed(other)])
    imported = await importer.read(archive, name=NAME)
    assert (imported.images, imported.unnamed) == ({NAME: index.target}, ())
    assert await is_known(importer.store, index)


async def test_an_index_within_an_index_is_one_image(importer: Importer) -> None:
    platform = oci_image()
    nested = _index_of(_index_of(platform))
    imported = await importer.read(_archive(nested, index=[_listed(nested)]), name=NAME)
    assert imported.images == {NAME: nested.target}
    assert set(imported.contents.there) == set(nested.blobs)


async def test_a_repository_names_all_images_by_their_tags(importer: Importer) -> None:
    tagged, second, untagged, full = (
        oci_image(layers=(b"one",)),
        oci_image(layers=(b"two",)),
        oci_image(layers=(b"three",)),
        helm_chart("other.example/charts/app:1"),
    )
    entries = [_listed(tagged, "v1"), _listed(second, "not a tag"), _listed(untagged), _listed(full, str(full.name))]
    imported = await importer.read(_archive(tagged, second, untagged, full, index=entries), name=NAME.repository)
    assert {str(name): target for name, target in imported.images.items()} == {
        "registry.example/given/name:v1": tagged.target,
        f"registry.example/given/name@{second.target.digest}": second.target,
        f"registry.example/given/name@{untagged.target.digest}": untagged.target,
        "other.example/charts/app:1": full.target,
    }


async def test_images_without_a_name_beside_others_are_told(importer: Importer) -> None:
    named, unnamed = oci_image(), helm_chart()
    imported = await importer.read(_archive(named, unnamed, index=[_listed(named, str(named.name)), _listed(unnamed)]))
    assert (imported.images, imported.unnamed) == ({named.name: named.target}, (unnamed.target,))


async def test_a_digest_that_is_given_must_be_the_images(importer: Importer) -> None:
    image = oci_image()
    archive = _archive(image, index=[_listed(image)])
    with pytest.raises(ArchiveInvalid, match="not sha256:0000"):
        await importer.read(archive, name=DigestedName(NAME.repository, Digest("sha256", "0" * 64)))
    right = DigestedName(NAME.repository, image.target.digest)
    assert (await importer.read(archive, name=right)).images == {right: image.target}


async def test_what_the_store_has_may_be_lacking(importer: Importer) -> None:
    image = oci_image()
    await importer.read(archive_of(image))
    other = oci_image("registry.example/demo/app:other")
    layer = image.digest_of(OCI_LAYER)
    await importer.read(ArchiveBuilder().image(other, without=frozenset({layer})).index(other).build())
    assert await is_known(importer.store, other)


async def test_files_of_other_tools_are_passed_over(importer: Importer) -> None:
    image = oci_image()
    builder = (
        ArchiveBuilder().file("manifest.json", b"[]").file("repositories", b"{}").special("blobs", tarfile.DIRTYPE)
    )
    await importer.read(builder.image(image).index(image).build())
    assert await is_known(importer.store, image)


async def test_blobs_that_nothing_refers_to_stay_out(importer: Importer) -> None:
    image, other = oci_image(), helm_chart()
    await importer.read(ArchiveBuilder().image(image).image(other, without=frozenset(image.blobs)).index(image).build())
    with pytest.raises(ContentNotFound):
        await importer.store.find(other.target.digest)


# ---- archives that are refused


def _with(change: Callable[[ArchiveBuilder], object]) -> bytes:
    """A sound archive and something that must not be in it."""
    image = oci_image()
    builder = ArchiveBuilder().image(image)
    change(builder)
    return builder.index(image).build()


def _wrong_bytes() -> bytes:
    return archive_of(oci_image()).replace(b"layer one", b"layer 0ne")


def _lacks(media_type: str) -> bytes:
    image = oci_image()
    return ArchiveBuilder().image(image, without=frozenset({image.digest_of(media_type)})).index(image).build()


def _huge_header() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    return info.tobuf(tarfile.GNU_FORMAT) + archive_of(oci_image())


def _negative_size() -> bytes:
    info = tarfile.TarInfo("x")
    info.size = -512
    return info.tobuf(tarfile.GNU_FORMAT) + archive_of(oci_image())


def _with_index(index: bytes) -> bytes:
    return ArchiveBuilder().file("oci-layout", LAYOUT).file("index.json", index).build()


HOSTILE = {
    "nothing": b"",
    "no tar": b"x" * 2000,
    "cut": archive_of(oci_image())[:3000],
    "cut gzip": archive_of(oci_image(), packed=True)[:-40],
    "broken gzip": b"\x1f\x8b" + b"x" * 500,
    "no index": ArchiveBuilder().image(oci_image()).build(),
    "no layout": ArchiveBuilder().image(oci_image()).file("index.json", b'{"manifests": []}').build(),
    "index is no index": _with(lambda b: b.file("index.json", b"[]")),
    "bad entry": _with(lambda b: b.file("index.json", b'{"manifests": [{}]}')),
    "index twice": _with(lambda b: b.index(oci_image())),
    "blob twice": _with(lambda b: b.image(oci_image())),
    "climbs": _with(lambda b: b.file("../escaped", b"x")),
    "climbs inside": _with(lambda b: b.file("blobs/sha256/../../../escaped", b"x")),
    "absolute": _with(lambda b: b.file("/escaped", b"x")),
    "absolute in pax": _with(lambda b: b.file("/" + "e" * 200, b"x")),
    "symbolic link": _with(lambda b: b.special("blobs/sha256/" + "0" * 64, tarfile.SYMTYPE, target="/etc/passwd")),
    "hard link": _with(lambda b: b.special("blobs/sha256/" + "0" * 64, tarfile.LNKTYPE, target="index.json")),
    "device": _with(lambda b: b.special("blobs/sha256/" + "0" * 64, tarfile.CHRTYPE)),
    "fifo": _with(lambda b: b.special("fifo", tarfile.FIFOTYPE)),
    "not a digest": _with(lambda b: b.file("blobs/sha256/abc", b"x")),
    "unknown algorithm": _with(lambda b: b.file("blobs/md5/" + "0" * 32, b"x")),
    "wrong bytes": _wrong_bytes(),
    "no layer": _lacks(OCI_LAYER),
    "no config": _lacks(OCI_CONFIG),
    "huge header": _huge_header(),
    "negative size": _negative_size(),
    "empty gzip members": gzip.compress(b"") * 5000 + archive_of(oci_image(), packed=True),
    "tiny gzip members": b"".join(gzip.compress(b"%d" % number) for number in range(5000)),
    "an index of wrong entries": _with_index(b'{"manifests": [' + b"{}," * 50_000 + b"{}]}"),
    "an index of very many values": _with_index(b'{"manifests": [' + b"1," * 3_000_000 + b"1]}"),
    "an index that is nested": _with_index(b'{"manifests": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "very much besides": gzip.compress(ArchiveBuilder().file("besides", bytes(70 << 20)).build()),
    "another packer": b"\x28\xb5\x2f\xfd" + bytes(500),
    "short name": ArchiveBuilder().image(oci_image()).index(oci_image(), name="v1").build(),
    "two meanings": ArchiveBuilder()
    .image(oci_image())
    .image(helm_chart())
    .index(oci_image(), helm_chart(), name="registry.example/demo/app:v1")
    .build(),
}


@pytest.mark.parametrize("archive", HOSTILE.values(), ids=HOSTILE.keys())
async def test_refused_archive_leaves_the_store_as_it_was(importer: Importer, archive: bytes) -> None:
    await importer.read(archive_of(helm_chart("registry.example/demo/before:v1")))
    before = importer.files()
    with pytest.raises(ArchiveInvalid) as caught:
        await importer.read(archive)
    assert "\n" not in str(caught.value)
    assert importer.files() == before


# Generous, and far from what a quadratic reader takes.
PATIENCE_SECONDS = 20
MOST_BYTES = 64 << 20


@pytest.mark.parametrize("archive", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_refusal_is_quick_and_takes_little_memory(importer: Importer, archive: bytes) -> None:
    begun = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveInvalid):
            await importer.read(archive)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_BYTES
    assert time.process_time() - begun < PATIENCE_SECONDS


async def test_very_many_records_of_a_header_cost_no_more_than_their_bytes(importer: Importer) -> None:
    image = oci_image()
    records = b"8 a=bcd\n" * 125_000
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    header = info.tobuf(tarfile.GNU_FORMAT) + records + bytes(-len(records) % tarfile.BLOCKSIZE)
    begun = time.process_time()
    await importer.read(header + archive_of(image))
    assert time.process_time() - begun < PATIENCE_SECONDS
    assert await is_known(importer.store, image)


async def test_gzip_data_in_many_pieces_is_understood(importer: Importer) -> None:
    """As bgzip writes it: 64 KiB in each, and an empty one at the end."""
    image = oci_image(layers=(sample_bytes(3_000_000),))
    archive = archive_of(image)
    pieces = [archive[start : start + 65_280] for start in range(0, len(archive), 65_280)]
    await importer.read(b"".join(map(gzip.compress, [*pieces, b""])))
    assert await is_known(importer.store, image)


async def test_name_is_refused_for_several_images(importer: Importer) -> None:
    with pytest.raises(ArchiveInvalid, match="2"):
        await importer.read(archive_of(oci_image(), helm_chart()), name=NAME)


async def test_unreachable_size_of_a_blob_is_refused(importer: Importer) -> None:
    image = oci_image()
    lying = image.manifest.replace(b'"size": 9', b'"size": 8')
    assert lying != image.manifest
    target = type(image.target)(image.target.media_type, Digest.of(lying), len(lying))
    blobs = {target.digest: lying, **{d: data for d, data in image.blobs.items() if d != image.target.digest}}
    liar = type(image)(image.name, target, blobs, image.media_types)
    with pytest.raises(ArchiveInvalid, match="bytes instead of"):
        await importer.read(archive_of(liar))


async def test_cancelled_import_leaves_the_store_as_it_was(importer: Importer) -> None:
    before = importer.files()
    reader, writer = os.pipe()
    importing = asyncio.create_task(read_archive(reader, importer.store))
    try:
        os.write(writer, archive_of(oci_image())[:5000])
        while importer.files() == before:  # noqa: ASYNC110 - a file of the ingest appears
            await asyncio.sleep(0)
        importing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await importing
    finally:
        os.close(reader)
        os.close(writer)
    assert importer.files() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutilated_archive_is_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    archive = bytearray(archive_of(oci_image()))
    for offset, value in flips:
        archive[offset % len(archive)] = value
    root = tmp_path_factory.mktemp("store")

    async def attempt() -> None:
        (root / "archive").write_bytes(archive)
        async with open_directory_store(root / "store") as store:
            with (root / "archive").open("rb") as file:
                try:
                    await read_archive(file.fileno(), store)
                except ArchiveInvalid:
                    assert await store.names() == []

    asyncio.run(attempt())


def _feed(fd: int, data: bytes) -> None:
    with io.FileIO(fd, "w") as pipe:
        for start in range(0, len(data), 7001):
            pipe.write(data[start : start + 7001])
