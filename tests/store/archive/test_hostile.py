"""Archives that are made to cost much: each is refused in one line, soon, in little memory, and leaves nothing.

The bounds of time are of counted work, not of clocks: what a reader may do is spent from an allowance.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import ArchiveLimits
from tests.fakes.archives import LAYOUT, ArchiveBuilder, archive_of
from tests.fakes.images import helm_chart, oci_image, raw_descriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.archive.conftest import Importer

_MIB = 1024 * 1024
_EMPTY_MEMBER = gzip.compress(b"")
_REFERENCE = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + "0" * 64, "size": 1}


def _extended(data: bytes, *, kind: bytes = tarfile.XHDTYPE) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % tarfile.BLOCKSIZE)


def _empty_files(count: int) -> bytes:
    return tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT) * count


def _of_index(entries: list[object]) -> bytes:
    document = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return ArchiveBuilder().file("oci-layout", LAYOUT).file("index.json", document).build()


def _blob(builder: ArchiveBuilder, data: bytes) -> dict[str, object]:
    digest = Digest.of(data)
    builder.file(f"blobs/sha256/{digest.encoded}", data)
    return {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(digest), "size": len(data)}


def _of_manifest(**members: object) -> bytes:
    """An image's manifest that begins as it should and has what is given besides."""
    builder = ArchiveBuilder()
    document = {"schemaVersion": 2, "config": _REFERENCE, "layers": [], **members}
    target = _blob(builder, json.dumps(document, separators=(",", ":")).encode())
    named = {**target, "annotations": {"org.opencontainers.image.ref.name": "registry.example/a/b:v1"}}
    index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    return builder.file("oci-layout", LAYOUT).file("index.json", index).build()


def _deep(levels: int) -> bytes:
    return b'{"manifests": ' + b"[" * levels + b"]" * levels + b"}"


def _deep_index() -> bytes:
    return ArchiveBuilder().file("oci-layout", LAYOUT).file("index.json", _deep(100_000)).build()


def _long_name() -> bytes:
    """A link with a name of nearly 1 MiB: the message about it must not repeat it."""
    link = tarfile.TarInfo("x")
    link.type, link.linkname = tarfile.SYMTYPE, "y"
    return _extended(b"x" * 1_000_000, kind=tarfile.GNUTYPE_LONGNAME) + link.tobuf(tarfile.GNU_FORMAT)


def _joined(piece: bytes, count: int) -> bytes:
    """A gzip file of which every member unpacks to next to nothing."""
    return gzip.compress(archive_of(oci_image())[:512]) + piece * count


def _special(kind: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.type = kind
    return info.tobuf(tarfile.GNU_FORMAT)


HOSTILE = {
    # Of 1 MiB: a reader that copies the rest after every record copies 90 GiB.
    "pax records": (_extended(b"6 a=b\n" * 174_000) * 3, "records"),
    "pax record without an end": (_extended(b"9" * _MIB), "broken extended header"),
    "pax record of length 0": (_extended(b"0 a=b\n" * 1000), "broken extended header"),
    "pax length that is not decimal": (_extended("1\u0666 path=x\n".encode()), "broken extended header"),
    "extended headers": (
        gzip.compress(_extended(b"%d a=" % _MIB + b"x" * (_MIB - 11) + b"\n") * 65, 1),
        "bytes of ext",
    ),
    "wrong entries": (_of_index([{}] * 220_000), "index.json of the archive is wrong"),
    "values in index.json": (_of_index([[]] * 1_000_000), "values"),
    "nested index.json": (_deep_index(), "not JSON"),
    "gzip members of nothing": (_joined(_EMPTY_MEMBER, 100_000), "gzip members"),
    "gzip members of one byte": (_joined(gzip.compress(b"\0"), 50_000), "gzip members"),
    "long name": (_long_name(), "neither a file nor a folder"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 1000, "`zstd -dc"),
    "xz": (b"\xfd7zXZ\0" + b"x" * 1000, "`xz -dc"),
    "sparse": (_extended(b"22 GNU.sparse.major=1\n"), "sparse"),
    "old sparse": (_special(tarfile.GNUTYPE_SPARSE), "neither a file nor a folder"),
    "values in a manifest": (_of_manifest(x=[[]] * 1_000_000), "is not a manifest"),
}


@pytest.mark.parametrize(("archive", "said"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_costly_archive_is_refused_in_one_short_line(importer: Importer, archive: bytes, said: str) -> None:
    await importer.read(archive_of(helm_chart("registry.example/demo/before:v1")))
    before = importer.files()
    with pytest.raises(ArchiveInvalid, match=said) as caught:
        await importer.read(archive)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert importer.files() == before


@pytest.mark.parametrize("name", ["wrong entries", "values in index.json", "values in a manifest"])
async def test_memory_stays_small(importer: Importer, name: str) -> None:
    archive, _ = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveInvalid):
            await importer.read(archive)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A block, a header or a document of 8 MiB with copies, and what it means: 300,000 values.
    assert peak < 96 * _MIB


# ---- what is counted, with smaller numbers


async def test_number_of_headers_is_bounded(importer: Importer) -> None:
    with pytest.raises(ArchiveInvalid, match="more than 1000 headers"):
        await importer.read(_empty_files(1001), limits=ArchiveLimits(headers=1000))


async def test_number_of_blobs_is_bounded(importer: Importer) -> None:
    builder = ArchiveBuilder()
    for number in range(21):
        _blob(builder, b"%d" % number)
    before = importer.files()
    with pytest.raises(ArchiveInvalid, match="more than 20 blobs"):
        await importer.read(builder.build(), limits=ArchiveLimits(blobs=20))
    assert importer.files() == before


async def test_number_of_references_is_bounded(importer: Importer) -> None:
    with pytest.raises(ArchiveInvalid, match="more than 20 references"):
        await importer.read(_of_manifest(layers=[_REFERENCE] * 20), limits=ArchiveLimits(references=20))


async def test_files_that_are_no_content_are_bounded(importer: Importer) -> None:
    archive = ArchiveBuilder().file("a", b"x" * 600).file("b", b"x" * 600).build()
    with pytest.raises(ArchiveInvalid, match="more than 1000 bytes"):
        await importer.read(archive, limits=ArchiveLimits(other_bytes=1000))


async def test_growth_is_bounded(importer: Importer) -> None:
    before = importer.files()
    builder = ArchiveBuilder()
    _blob(builder, bytes(20 * _MIB))
    with pytest.raises(ArchiveInvalid, match="100 times its size"):
        await importer.read(builder.build(packed=True), limits=ArchiveLimits(any_growth_bytes=2 * _MIB))
    assert importer.files() == before


# ---- what is attached


def _attached(subject: object, config: object, count: int, *, size: int) -> Iterator[bytes]:
    for number in range(count):
        document = {"schemaVersion": 2, "config": config, "layers": [], "subject": subject, "number": number}
        yield json.dumps({**document, "annotations": {"x": "y" * size}}).encode()


def _with_attached(count: int, *, size: int = 0, names: int = 1) -> bytes:
    """One image under many names, with much attached to it; what that refers to is the image's own config."""
    image = oci_image()
    builder = ArchiveBuilder().image(image)
    config = next(json.loads(blob)["config"] for blob in image.blobs.values() if blob.startswith(b'{"schemaVersion"'))
    entries = [
        raw_descriptor(image.target, annotations={"org.opencontainers.image.ref.name": f"r{number}.example/a/b:v1"})
        for number in range(names)
    ]
    entries += [_blob(builder, data) for data in _attached(raw_descriptor(image.target), config, count, size=size)]
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return builder.file("oci-layout", LAYOUT).file("index.json", index).build()


async def test_what_is_attached_is_listed(importer: Importer) -> None:
    imported = await importer.read(_with_attached(3, names=2))
    assert (len(imported.images), len(imported.attached)) == (2, 2)


@pytest.mark.parametrize(
    ("archive", "said"),
    [(_with_attached(3, size=2 * _MIB), "than a list can have"), (_with_attached(1, size=_MIB, names=70), "to list")],
    ids=["in one list", "in many lists"],
)
async def test_lists_of_what_is_attached_are_bounded(importer: Importer, archive: bytes, said: str) -> None:
    before = importer.files()
    with pytest.raises(ArchiveInvalid, match=said):
        await importer.read(archive)
    assert importer.files() == before


# ---- archives that are large, and sound


async def test_joined_gzip_members_are_one_archive(importer: Importer) -> None:
    archive = archive_of(oci_image(layers=(bytes(range(256)) * 8000,)))
    step = 64 * 1024
    packed = b"".join(gzip.compress(archive[start : start + step], 1) for start in range(0, len(archive), step))
    await importer.read(packed + _EMPTY_MEMBER)


async def test_record_of_every_length_is_read(importer: Importer) -> None:
    image = oci_image()
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as sink:
        for length in (1, 90, 97, 990, 9_990, 99_990):
            info = tarfile.TarInfo("beside")
            info.pax_headers = {"comment": "c" * length, "path": "p" * length}
            sink.addfile(info)
    await importer.read(_headers(buffer) + archive_of(image))


def _headers(buffer: io.BytesIO) -> bytes:
    """Without the zeros that end the archive, so that another can follow."""
    data = buffer.getvalue().rstrip(b"\0")
    return data + b"\0" * (-len(data) % tarfile.BLOCKSIZE)
