"""`registryd export --referrers` and `import`: signatures and the like travel with their images."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from registryd.commands.archive import export_archive, import_archive
from registryd.content.source import ContentNotFound
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.reference import DigestedName, TaggedName
from registryd.oci.referrers import parse_referrers, referrers_tag
from registryd.store.directory.store import open_directory_store
from tests.fakes.archives import LAYOUT, ArchiveBuilder, archive_of
from tests.fakes.images import SampleImage, document_of, oci_image, raw_descriptor, signature_of
from tests.fakes.settings import directory_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registryd.config.agent import Settings
    from registryd.oci.digest import Digest
    from registryd.store.directory.store import DirectoryStore

IMAGE = oci_image()
NAME = str(IMAGE.name)
SIGNATURE = signature_of(IMAGE)
BILL = signature_of(IMAGE, kind="application/vnd.example.sbom", text="bill")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return directory_settings(tmp_path / "store")


@pytest.fixture
def inside(tmp_path: Path) -> Settings:
    return directory_settings(tmp_path / "inside")


def list_of(subject: SampleImage, *artifacts: SampleImage) -> SampleImage:
    """As a cache keeps it."""
    entries = [raw_descriptor(artifact.target, artifactType="application/x") for artifact in artifacts]
    data, target = document_of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    name = TaggedName(subject.name.repository, referrers_tag(subject.target.digest))
    blobs = {target.digest: data}
    for artifact in artifacts:
        blobs |= artifact.blobs
    return SampleImage(name, target, blobs, {target.digest: OCI_INDEX})


async def put(settings: Settings, tmp_path: Path, *images: SampleImage, without: Sequence[Digest] = ()) -> None:
    """Into the store, whole or not, as a cache may have it."""
    await import_archive(settings, str(written(tmp_path, archive_of(*images))))
    for digest in without:
        (settings.store.directory / "blobs" / digest.algorithm / digest.encoded).unlink()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "in.tar"
    path.write_bytes(data)
    return path


async def listed(settings: Settings, subject: SampleImage) -> set[str] | None:
    """What the store says to be attached."""
    async with open_directory_store(settings.store.directory) as store:
        name = TaggedName(subject.name.repository, referrers_tag(subject.target.digest))
        if not (known := await store.resolve(name)):
            return None
        digest = known[0].target.digest
        path = settings.store.directory / "blobs" / digest.algorithm / digest.encoded
        return {entry["digest"] for entry in parse_referrers(path.read_bytes())}


async def has(store: DirectoryStore, digest: Digest) -> bool:
    try:
        await store.find(digest)
    except ContentNotFound:
        return False
    return True


def digests(*artifacts: SampleImage) -> set[str]:
    return {str(artifact.target.digest) for artifact in artifacts}


# Out


async def test_what_is_attached_goes_out_and_comes_in(settings: Settings, inside: Settings, tmp_path: Path) -> None:
    cosign = oci_image(f"{IMAGE.name.repository}:sha256-{IMAGE.target.digest.encoded}.sig", layers=(b"sig",))
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE), cosign)
    archive = str(tmp_path / "out.tar")
    assert await export_archive(settings, archive, NAME, referrers=True) == 0
    await import_archive(inside, archive)
    assert await listed(inside, IMAGE) == digests(SIGNATURE)
    async with open_directory_store(inside.store.directory) as store:
        assert str(cosign.name) in map(str, await store.names())
        for digest in (*SIGNATURE.blobs, *cosign.blobs):
            assert await has(store, digest)


async def test_without_the_flag_a_chosen_image_goes_alone(settings: Settings, inside: Settings, tmp_path: Path) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE))
    archive = str(tmp_path / "out.tar")
    assert await export_archive(settings, archive, NAME) == 0
    await import_archive(inside, archive)
    assert await listed(inside, IMAGE) is None


async def test_that_nothing_is_known_of_what_is_attached_is_said(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await put(settings, tmp_path, IMAGE)
    assert await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True) == 1
    assert "left out: registry.example/demo/app:v1: its referrers are not known" in capsys.readouterr().err
    assert (tmp_path / "out.tar").exists()


async def test_that_nothing_is_attached_is_worth_knowing(settings: Settings, inside: Settings, tmp_path: Path) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE))
    assert await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True) == 0
    await import_archive(inside, str(tmp_path / "out.tar"))
    assert await listed(inside, IMAGE) == set()


async def test_without_the_flag_all_images_go_alone_and_it_is_said(
    settings: Settings, inside: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = oci_image("registry.example/demo/other:v1", layers=(b"other",))
    await put(settings, tmp_path, IMAGE, other, list_of(IMAGE, SIGNATURE), list_of(other))
    capsys.readouterr()
    assert await export_archive(settings, str(tmp_path / "out.tar")) == 0
    said = capsys.readouterr()
    assert said.err == "note: the images' referrers are left out, 1 name: --referrers includes them\n"
    assert "attached" not in said.out
    await import_archive(inside, str(tmp_path / "out.tar"))
    assert await listed(inside, IMAGE) is None
    async with open_directory_store(inside.store.directory) as store:
        assert await store.names() == [IMAGE.name, other.name]
        assert not await has(store, SIGNATURE.target.digest)


async def test_who_knows_of_nothing_attached_has_nothing_to_say(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE))
    capsys.readouterr()
    assert await export_archive(settings, str(tmp_path / "out.tar")) == 0
    assert capsys.readouterr().err == ""


async def test_what_is_attached_is_no_image_of_the_archive(settings: Settings, tmp_path: Path) -> None:
    """Importers that know nothing of signatures take every entry of index.json for an image, and stop."""
    cosign = oci_image(f"{IMAGE.name.repository}:sha256-{IMAGE.target.digest.encoded}.sig", layers=(b"sig",))
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE), list_of(SIGNATURE), cosign)
    async with open_directory_store(settings.store.directory) as store:
        # As whoever pulled it by digest alone has left it.
        await store.name({DigestedName(IMAGE.name.repository, SIGNATURE.target.digest): SIGNATURE.target})
    for referrers in (False, True):
        assert await export_archive(settings, str(tmp_path / "out.tar"), referrers=referrers) == 0
        with tarfile.open(tmp_path / "out.tar") as tar:
            index = json.load(tar.extractfile("index.json") or pytest.fail("no index.json"))
            assert [entry["digest"] for entry in index["manifests"]] == [str(IMAGE.target.digest)]
            assert ("registryd-attached.json" in tar.getnames()) == referrers


async def test_the_count_is_of_what_is_attached(
    settings: Settings, inside: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE), list_of(SIGNATURE))
    capsys.readouterr()
    await export_archive(settings, str(tmp_path / "out.tar"), referrers=True)
    await import_archive(inside, str(tmp_path / "out.tar"))
    said = capsys.readouterr().out
    for verb in ("exported", "imported"):
        assert f"{verb} their referrers, under 1 name\n" in said
        assert f"{verb} the record of 1 manifest without referrers\n" in said


async def test_that_nothing_is_attached_takes_nothing_away(
    settings: Settings, inside: Settings, tmp_path: Path
) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE))
    await put(inside, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE))
    await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True)
    await import_archive(inside, str(tmp_path / "out.tar"))
    assert await listed(inside, IMAGE) == digests(SIGNATURE)


@pytest.mark.parametrize(
    ("known", "coming"), [((SIGNATURE,), (BILL,)), ((SIGNATURE, BILL), (BILL,)), ((BILL,), (SIGNATURE, BILL))]
)
async def test_a_list_that_comes_takes_nothing_from_the_one_that_is_there(
    settings: Settings, inside: Settings, tmp_path: Path, known: Sequence[SampleImage], coming: Sequence[SampleImage]
) -> None:
    """A stick of last month, or of another cache, does not lose the signature that came by this month's."""
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, *coming))
    await put(inside, tmp_path, IMAGE, list_of(IMAGE, *known))
    await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True)
    for _ in range(2):
        await import_archive(inside, str(tmp_path / "out.tar"))
        assert await listed(inside, IMAGE) == digests(SIGNATURE, BILL)


@pytest.mark.parametrize("name", [None, "registry.example/given/app:v7"])
async def test_what_is_attached_follows_its_image_to_a_name_that_is_given(
    settings: Settings, inside: Settings, tmp_path: Path, name: str | None
) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE), list_of(SIGNATURE))
    await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True)
    await import_archive(inside, str(tmp_path / "out.tar"), name=name)
    repository = name.rpartition(":")[0] if name else str(IMAGE.name.repository)
    async with open_directory_store(inside.store.directory) as store:
        lists = [f"{repository}:{referrers_tag(each.target.digest)}" for each in (IMAGE, SIGNATURE)]
        assert set(map(str, await store.names())) == {name or NAME, *lists}


async def test_what_goes_along_may_stay_outside(settings: Settings, inside: Settings, tmp_path: Path) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE))
    await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True)
    await import_archive(inside, str(tmp_path / "out.tar"), referrers=False)
    async with open_directory_store(inside.store.directory) as store:
        assert await store.names() == [IMAGE.name]
        assert not await has(store, SIGNATURE.target.digest)


@pytest.mark.parametrize("partly", [True, False])
@pytest.mark.parametrize("gone", [SIGNATURE.target.digest, list(SIGNATURE.blobs)[-1]])
async def test_of_a_list_that_was_asked_for_all_has_to_be_there(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: Digest, partly: bool
) -> None:
    await put(settings, tmp_path, IMAGE, list_of(IMAGE, SIGNATURE, BILL), without=[gone])
    assert await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True, partly=partly) == 1
    assert str(gone) in capsys.readouterr().err


async def test_what_is_attached_to_parts_and_to_what_is_attached_goes_along(
    settings: Settings, inside: Settings, tmp_path: Path
) -> None:
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [raw_descriptor(IMAGE.target)]}
    )
    index = SampleImage(IMAGE.name, target, {target.digest: data, **IMAGE.blobs}, {})
    signed = signature_of(BILL)
    lists = (list_of(index), list_of(IMAGE, BILL), list_of(BILL, signed))
    await put(settings, tmp_path, index, *lists)
    assert await export_archive(settings, str(tmp_path / "out.tar"), NAME, referrers=True) == 0
    await import_archive(inside, str(tmp_path / "out.tar"))
    assert await listed(inside, IMAGE) == digests(BILL)
    assert await listed(inside, BILL) == digests(signed)


# In, from other tools


def layout_of(*entries: dict[str, object], content: Sequence[SampleImage]) -> bytes:
    """An archive with these entries in its index.json."""
    builder = ArchiveBuilder()
    seen: dict[Digest, bytes] = {}
    for image in content:
        seen |= image.blobs
    for digest, data in seen.items():
        builder.file(f"blobs/{digest.algorithm}/{digest.encoded}", data)
    builder.file("oci-layout", LAYOUT)
    return builder.file("index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode()).build()


def tagged(image: SampleImage, tag: str) -> dict[str, object]:
    return raw_descriptor(image.target, annotations={"org.opencontainers.image.ref.name": tag})


async def test_what_another_tool_left_without_a_list_gets_one(inside: Settings, tmp_path: Path) -> None:
    data = layout_of(
        tagged(IMAGE, "v1"),
        raw_descriptor(SIGNATURE.target),
        raw_descriptor(BILL.target),
        content=(IMAGE, SIGNATURE, BILL),
    )
    await import_archive(inside, str(written(tmp_path, data)), name=str(IMAGE.name.repository))
    assert await listed(inside, IMAGE) == digests(SIGNATURE, BILL)


async def test_what_comes_later_is_added_to_the_list(inside: Settings, tmp_path: Path) -> None:
    for artifact in (SIGNATURE, BILL, BILL):
        data = layout_of(tagged(IMAGE, "v1"), raw_descriptor(artifact.target), content=(IMAGE, artifact))
        await import_archive(inside, str(written(tmp_path, data)), name=str(IMAGE.name.repository))
    assert await listed(inside, IMAGE) == digests(SIGNATURE, BILL)


async def test_one_image_with_what_is_attached_may_be_given_a_name(inside: Settings, tmp_path: Path) -> None:
    """As regctl writes it: the list under its tag."""
    named = list_of(IMAGE, SIGNATURE)
    data = layout_of(tagged(IMAGE, "whatever"), tagged(named, named.name.tag.name), content=(IMAGE, SIGNATURE, named))
    await import_archive(inside, str(written(tmp_path, data)), name=NAME)
    assert await listed(inside, IMAGE) == digests(SIGNATURE)
    async with open_directory_store(inside.store.directory) as store:
        assert set(map(str, await store.names())) == {NAME, str(named.name)}


async def test_what_is_attached_may_stay_outside(inside: Settings, tmp_path: Path) -> None:
    named = list_of(IMAGE, SIGNATURE)
    data = layout_of(tagged(IMAGE, "v1"), tagged(named, named.name.tag.name), content=(IMAGE, SIGNATURE, named))
    repository = str(IMAGE.name.repository)
    await import_archive(inside, str(written(tmp_path, data)), name=repository, referrers=False)
    assert await listed(inside, IMAGE) is None


async def test_what_is_attached_to_nothing_that_came_is_no_matter(inside: Settings, tmp_path: Path) -> None:
    stray = signature_of(oci_image(layers=(b"another",)))
    data = layout_of(tagged(IMAGE, "v1"), raw_descriptor(stray.target), content=(IMAGE, stray))
    await import_archive(inside, str(written(tmp_path, data)), name=str(IMAGE.name.repository))
    async with open_directory_store(inside.store.directory) as store:
        assert list(map(str, await store.names())) == [NAME]
