"""`registryd import` and `registryd export`: files and streams, their words, and skopeo as an independent judge."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from registryd.commands.archive import export_archive, import_archive
from registryd.config.agent import Settings, StoreKind, StoreSettings
from registryd.failures import CommandFailed
from registryd.oci.descriptor import OCI_MANIFEST
from registryd.store.directory.store import open_directory_store
from tests.contracts.content_store import is_known
from tests.fakes.archives import ArchiveBuilder, archive_of
from tests.fakes.images import OCI_CONFIG, OCI_LAYER, helm_chart, oci_image, oci_index
from tests.fakes.layouts import read_index, write_image, write_index
from tests.fakes.settings import directory_settings

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.oci.digest import Digest
    from tests.fakes.images import SampleImage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return directory_settings(tmp_path / "store")


@pytest.fixture
def skopeo() -> str:
    found = shutil.which("skopeo")
    if found is None and os.environ.get("TESTS_MAY_SKIP") == "no":
        pytest.fail("skopeo is needed, and no test may be skipped")
    if found is None:
        pytest.skip("skopeo is not installed")
    if os.geteuid() != 0:
        pytest.skip("skopeo gives what it unpacks to root, as archives say, and so needs root")
    return found


async def imported(settings: Settings, tmp_path: Path, *images: SampleImage) -> None:
    archive = tmp_path / "in.tar"
    archive.write_bytes(archive_of(*images))
    await import_archive(settings, str(archive))


# ---- files


async def test_import_says_what_came_in(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = oci_index()
    await imported(settings, tmp_path, image)
    said = capsys.readouterr().out
    assert f"imported {image.name} {image.target.digest}" in said
    assert "1 platform or layer that the images refer to was not there" in said


async def test_where_the_store_is_containerds_its_own_command_is_named(tmp_path: Path) -> None:
    settings = Settings(store=StoreSettings(kind=StoreKind.CONTAINERD))
    with pytest.raises(CommandFailed, match=r"ctr -n k8s\.io images import`"):
        await import_archive(settings, str(write_archive_to(tmp_path)))


async def test_beside_a_containerd_it_is_said_that_the_directory_is_not_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("containerd.sock")
        there = StoreSettings(directory=tmp_path / "store", containerd_socket=tmp_path / "containerd.sock")
        await import_archive(Settings(store=there), str(write_archive_to(tmp_path)))
    said = capsys.readouterr()
    assert "for this node's containerd there are `ctr" in said.err
    assert "imported" in said.out


def write_archive_to(folder: Path) -> Path:
    path = folder / "in.tar"
    path.write_bytes(archive_of(oci_image()))
    return path


async def test_chosen_image_is_exported_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    chosen, other = oci_image(), helm_chart()
    await imported(settings, tmp_path, chosen, other)
    out = tmp_path / "out.tar"
    await export_archive(settings, str(out), str(chosen.name))
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        assert await store.names() == [chosen.name]
        assert await is_known(store, chosen)


async def test_all_images_are_exported_by_default(settings: Settings, tmp_path: Path) -> None:
    images = [oci_image(), helm_chart()]
    await imported(settings, tmp_path, *images)
    out = tmp_path / "out.tar"
    await export_archive(settings, str(out))
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        assert await store.names() == sorted((image.name for image in images), key=str)


async def test_what_a_list_names_is_exported_by_every_name_that_it_has(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_tag, by_both, by_digest, other = (
        oci_image("registry.example/demo/a:v1", layers=(b"a",)),
        oci_image("registry.example/demo/b:v1", layers=(b"b",)),
        oci_image("registry.example/demo/c:v1", layers=(b"c",)),
        helm_chart(),
    )
    await imported(settings, tmp_path, by_tag, by_both, by_digest, other)
    wanted = [
        "registry.example/demo/a:v1",
        f"registry.example/demo/b:v1@{by_both.target.digest}",
        f"registry.example/demo/c@{by_digest.target.digest}",
    ]
    (tmp_path / "images.txt").write_text("\n".join(wanted), encoding="utf-16")
    out = tmp_path / "out.tar"
    assert await export_archive(settings, str(out), images=[str(tmp_path / "images.txt")]) == 0
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        assert [str(name) for name in await store.names()] == [
            "registry.example/demo/a:v1",
            "registry.example/demo/b:v1",
            f"registry.example/demo/b@{by_both.target.digest}",
            f"registry.example/demo/c@{by_digest.target.digest}",
        ]


async def test_what_is_left_out_is_named_and_the_rest_is_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, partial = oci_image(), oci_index()
    await imported(settings, tmp_path, whole, partial)
    absent = "registry.example/demo/none:v1"
    (tmp_path / "images.txt").write_text(f"{whole.name}\n{partial.name}\n{absent}\n")
    out = tmp_path / "out.tar"
    capsys.readouterr()
    assert await export_archive(settings, str(out), images=[str(tmp_path / "images.txt")]) == 1
    said = capsys.readouterr()
    assert f"left out: {absent} is not in the store" in said.err
    assert f"left out: {partial.name}: " in said.err
    assert f"exported {whole.name} {whole.target.digest}" in said.out
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        assert await store.names() == [whole.name]


def list_of_lines(tmp_path: Path, *lines: str) -> list[str]:
    (tmp_path / "images.txt").write_text("\n".join(lines))
    return [str(tmp_path / "images.txt")]


async def test_a_tag_that_is_listed_with_a_digest_means_it_there(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tag has moved on since the list was written, or was never pulled."""
    old, new = oci_image(), oci_image(layers=(b"newer",))
    for image in (old, new):
        await imported(settings, tmp_path, image)
    listed = list_of_lines(tmp_path, *(f"registry.example/demo/app:{tag}@{old.target.digest}" for tag in ("v1", "v2")))
    out, elsewhere = tmp_path / "out.tar", directory_settings(tmp_path / "elsewhere")
    capsys.readouterr()
    assert await export_archive(settings, str(out), images=listed) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"note: {new.name} means {old.target.digest} there, as listed; here it means {new.target.digest} by now"
    ]
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        names = await store.names()
        assert {str(name).removeprefix("registry.example/demo/app") for name in names} == {
            ":v1",
            ":v2",
            f"@{old.target.digest}",
        }
        assert {(await store.resolve(name))[0].target for name in names} == {old.target}


async def test_a_tag_with_two_meanings_in_a_list_is_named(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = oci_image(), oci_image(layers=(b"newer",))
    for image in (old, new):
        await imported(settings, tmp_path, image)
    listed = list_of_lines(tmp_path, str(new.name), f"{old.name}@{old.target.digest}")
    out, elsewhere = tmp_path / "out.tar", directory_settings(tmp_path / "elsewhere")
    assert await export_archive(settings, str(out), images=listed) == 1
    assert f"left out: the tag of {old.name}@{old.target.digest}: " in capsys.readouterr().err
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        [meaning] = await store.resolve(new.name)
        assert meaning.target == new.target
        assert f"registry.example/demo/app@{old.target.digest}" in map(str, await store.names())


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_CONFIG, OCI_MANIFEST])
async def test_an_image_with_damaged_content_is_left_out_and_named(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], media_type: str
) -> None:
    """Of the size that it should have, so that only its hash tells."""
    damaged, others = oci_image(), [helm_chart(), oci_image("registry.example/demo/b:v1", layers=(b"b",) * 2)]
    await imported(settings, tmp_path, damaged, *others)
    digest = damaged.digest_of(media_type)
    overwrite(settings, digest)
    out, elsewhere = tmp_path / "out.tar", directory_settings(tmp_path / "elsewhere")
    capsys.readouterr()
    assert await export_archive(settings, str(out)) == 1
    said = capsys.readouterr().err
    assert f"left out: {damaged.name}: {digest} ({media_type})" in said
    assert sorted(names_in(tmp_path)) == ["in.tar", "out.tar", "store"]
    await import_archive(elsewhere, str(out))
    async with open_directory_store(elsewhere.store.directory) as store:
        if media_type == OCI_CONFIG:  # which these images share
            assert await store.names() == [others[0].name]
        else:
            assert await store.names() == sorted((image.name for image in others), key=str)


async def test_into_a_pipe_no_damaged_image_goes(settings: Settings, tmp_path: Path) -> None:
    damaged, other = oci_image(), helm_chart()
    await imported(settings, tmp_path, damaged, other)
    overwrite(settings, damaged.digest_of(OCI_LAYER))
    store = ["--store.directory", str(settings.store.directory), "--store.kind", "directory"]
    archive = await run(sys.executable, "-m", "registryd", "export", *store, "-", status=1)
    (tmp_path / "out.tar").write_bytes(archive)
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(tmp_path / "out.tar"))
    async with open_directory_store(elsewhere.store.directory) as there:
        assert await there.names() == [other.name]


async def test_where_everything_is_damaged_there_is_no_archive(settings: Settings, tmp_path: Path) -> None:
    image = oci_image()
    await imported(settings, tmp_path, image)
    overwrite(settings, image.digest_of(OCI_LAYER))
    with pytest.raises(CommandFailed, match=rf"{image.name}: .* is damaged"):
        await export_archive(settings, str(tmp_path / "out.tar"))
    assert sorted(names_in(tmp_path)) == ["in.tar", "store"]


def overwrite(settings: Settings, digest: Digest) -> None:
    """With as many other bytes; of JSON, so that it still is some."""
    path = settings.store.directory / "blobs" / digest.algorithm / digest.encoded
    data = path.read_bytes()
    path.write_bytes(data[:-1] + (b" " if data.endswith(b"}") else b"?"))


async def test_manifests_without_a_name_are_left_out_or_taken_along(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, unnamed = oci_image(), oci_index()
    await imported(settings, tmp_path, named, unnamed)
    root = settings.store.directory
    forgotten = [raw for raw in read_index(root)["manifests"] if raw["digest"] != str(unnamed.target.digest)]
    write_index(root, *forgotten)
    out = tmp_path / "out.tar"
    capsys.readouterr()
    assert await export_archive(settings, str(out), partly=True) == 1
    assert f"left out: {unnamed.target.digest}: no image name refers to it" in capsys.readouterr().err
    assert await export_archive(settings, str(out), partly=True, unnamed=True) == 0
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(out))
    assert f"imported without a name: {unnamed.target.digest}" in capsys.readouterr().out
    async with open_directory_store(elsewhere.store.directory) as store:
        assert (await store.find(unnamed.target.digest)).size == unnamed.target.size


async def test_an_archives_images_are_named_by_their_tags(settings: Settings, tmp_path: Path) -> None:
    image = oci_image()
    archive = tmp_path / "in.tar"
    archive.write_bytes(ArchiveBuilder().image(image).index(image, name="v7").build())
    await import_archive(settings, str(archive), name="registry.example/given/app")
    async with open_directory_store(settings.store.directory) as store:
        assert [str(name) for name in await store.names()] == ["registry.example/given/app:v7"]


async def test_failed_export_leaves_no_file(settings: Settings, tmp_path: Path) -> None:
    image = oci_index()
    await imported(settings, tmp_path, image)
    out = tmp_path / "out.tar"
    with pytest.raises(CommandFailed, match="is not there"):
        await export_archive(settings, str(out))
    assert sorted(names_in(tmp_path)) == ["in.tar", "store"]


async def test_into_a_fifo_or_a_device_the_archive_is_written_and_it_stays_one(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = oci_image()
    await imported(settings, tmp_path, image)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = asyncio.create_task(asyncio.to_thread(fifo.read_bytes))
    assert await export_archive(settings, str(fifo)) == 0
    (tmp_path / "out.tar").write_bytes(await reading)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert f"exported {image.name}" in capsys.readouterr().err
    elsewhere = directory_settings(tmp_path / "elsewhere")
    await import_archive(elsewhere, str(tmp_path / "out.tar"))


async def test_a_full_device_is_told_and_stays_one(settings: Settings, tmp_path: Path) -> None:
    await imported(settings, tmp_path, oci_image())
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # by a link: were the test to fail, it would harm no device
    with pytest.raises(CommandFailed, match="No space left"):
        await export_archive(settings, str(full))
    assert full.is_symlink()


async def test_a_link_stays_one_and_its_file_is_the_archive(settings: Settings, tmp_path: Path) -> None:
    await imported(settings, tmp_path, oci_image())
    (tmp_path / "stick").mkdir()
    (tmp_path / "link.tar").symlink_to(tmp_path / "stick" / "out.tar")
    await export_archive(settings, str(tmp_path / "link.tar"))
    assert (tmp_path / "link.tar").is_symlink()
    assert names_in(tmp_path / "stick") == ["out.tar"]
    await import_archive(directory_settings(tmp_path / "elsewhere"), str(tmp_path / "link.tar"))


async def test_an_archive_is_not_written_into_its_store(settings: Settings, tmp_path: Path) -> None:
    await imported(settings, tmp_path, oci_image())
    before = (settings.store.directory / "index.json").read_bytes()
    for target, why in (("index.json", "is in the store"), ("", "is a folder")):
        with pytest.raises(CommandFailed, match=why):
            await export_archive(settings, str(settings.store.directory / target))
    assert (settings.store.directory / "index.json").read_bytes() == before


async def test_two_exports_do_not_write_one_file(settings: Settings, tmp_path: Path) -> None:
    await imported(settings, tmp_path, oci_image())
    with (tmp_path / "out.tar.partial").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"begun")
        other.flush()
        with pytest.raises(CommandFailed, match="another export"):
            await export_archive(settings, str(tmp_path / "out.tar"))
        assert (tmp_path / "out.tar.partial").read_bytes() == b"begun"
    assert await export_archive(settings, str(tmp_path / "out.tar")) == 0, "what was killed is in nobody's way"
    await import_archive(directory_settings(tmp_path / "elsewhere"), str(tmp_path / "out.tar"))


async def test_running_store_sees_what_is_imported(settings: Settings, tmp_path: Path) -> None:
    first, second = oci_image(), helm_chart()
    async with open_directory_store(settings.store.directory) as store:
        for image in (first, second):
            assert not await store.resolve(image.name)
            await imported(settings, tmp_path, image)
            assert await is_known(store, image)


# ---- what the user is told


@pytest.mark.parametrize("name", ["v1", "demo/app:v1", "registry.example/Demo/app", "registry.example/Demo/app:v1"])
async def test_short_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(CommandFailed):
        await import_archive(settings, "never-opened.tar", name=name)


async def test_absent_file_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"absent\.tar: No such file"):
        await import_archive(settings, str(tmp_path / "absent.tar"))


async def test_a_layout_that_is_no_archive_yet_is_told_and_the_way_leads_in(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = oci_image()
    write_image(tmp_path / "layout", image)
    with pytest.raises(CommandFailed, match=r"`(tar .*) \| registryd import -`") as told:
        await import_archive(settings, str(tmp_path / "layout"))
    (tmp_path / "in.tar").write_bytes(await run(*str(told.value).split("`")[1].split(" | ")[0].split()))
    await import_archive(settings, str(tmp_path / "in.tar"))
    assert f"imported {image.name}" in capfd.readouterr().out


async def test_bad_archive_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"x" * 1024)
    with pytest.raises(CommandFailed, match=r"bad\.tar: not a tar archive"):
        await import_archive(settings, str(tmp_path / "bad.tar"))


async def test_unknown_image_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"demo/other:v1 is not in the store"):
        await export_archive(settings, str(tmp_path / "out.tar"), "registry.example/demo/other:v1")


async def test_empty_store_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no images"):
        await export_archive(settings, str(tmp_path / "out.tar"))


async def test_other_directory_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("x")
    with pytest.raises(CommandFailed, match="not an OCI image layout"):
        await export_archive(directory_settings(tmp_path / "letters"), str(tmp_path / "out.tar"))
    assert names_in(tmp_path / "letters") == ["love.txt"]


async def test_store_of_containerd_is_left_to_containerd(tmp_path: Path) -> None:
    settings = Settings(store=StoreSettings(kind=StoreKind.CONTAINERD))
    with pytest.raises(CommandFailed, match="ctr"):
        await export_archive(settings, str(tmp_path / "out.tar"))


# ---- standard streams, by the command line


async def test_archive_comes_and_goes_through_pipes(tmp_path: Path) -> None:
    image = oci_image()
    store = ["--store.directory", str(tmp_path / "store"), "--store.kind", "directory"]
    said = await run(sys.executable, "-m", "registryd", "import", "-", *store, given=archive_of(image, packed=True))
    assert str(image.target.digest).encode() in said
    archive = await run(sys.executable, "-m", "registryd", "export", *store, "-", str(image.name))
    elsewhere = directory_settings(tmp_path / "elsewhere")
    (tmp_path / "out.tar").write_bytes(archive)
    await import_archive(elsewhere, str(tmp_path / "out.tar"))


# ---- skopeo


async def test_skopeo_reads_what_we_export(skopeo: str, settings: Settings, tmp_path: Path) -> None:
    image = oci_image()
    await imported(settings, tmp_path, image)
    await export_archive(settings, str(tmp_path / "out.tar"))
    raw = await run(skopeo, "inspect", "--raw", f"oci-archive:{tmp_path}/out.tar:{image.name.tag}")
    assert raw == image.manifest
    await run(skopeo, "copy", f"oci-archive:{tmp_path}/out.tar", f"dir:{tmp_path}/copy")
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == image.manifest


async def test_skopeo_reads_our_store(skopeo: str, settings: Settings, tmp_path: Path) -> None:
    image = oci_image()
    await imported(settings, tmp_path, image)
    raw = await run(skopeo, "inspect", "--raw", f"oci:{settings.store.directory}:{image.name.tag}")
    assert raw == image.manifest


async def test_what_skopeo_writes_is_imported(skopeo: str, settings: Settings, tmp_path: Path) -> None:
    image = oci_image()
    write_image(tmp_path / "layout", image)
    archive = f"{tmp_path}/skopeo.tar"
    await run(skopeo, "copy", "--preserve-digests", f"oci:{tmp_path}/layout", f"oci-archive:{archive}:v1")
    await import_archive(settings, archive, name=str(image.name))
    async with open_directory_store(settings.store.directory) as store:
        assert await is_known(store, image)


async def test_a_docker_archive_of_skopeo_is_refused_with_the_way_to_convert_it(
    skopeo: str, settings: Settings, tmp_path: Path
) -> None:
    """It has links, which no archive of ours may have; and the way that is named leads somewhere."""
    image = make_image(tmp_path / "made", ImageRecipe((LayerRecipe(2000),), ("amd64",)))
    docker, oci = f"docker-archive:{tmp_path}/docker.tar", f"oci-archive:{tmp_path}/new.tar:v1"
    await run(skopeo, "copy", f"oci:{image.layout.folder}:v1", f"{docker}:app:v1")
    with pytest.raises(CommandFailed, match=r"skopeo copy docker-archive:FILE oci-archive:NEW\.tar:TAG"):
        await import_archive(settings, f"{tmp_path}/docker.tar", name="registry.example/demo/app:v1")
    await run(skopeo, "copy", docker, oci)
    await import_archive(settings, f"{tmp_path}/new.tar", name="registry.example/demo/app:v1")
    async with open_directory_store(settings.store.directory) as store:
        assert list(map(str, await store.names())) == ["registry.example/demo/app:v1"]


async def test_layout_that_skopeo_wrote_is_served_as_it_is(skopeo: str, tmp_path: Path) -> None:
    image = oci_image()
    write_image(tmp_path / "layout", image)
    copy = tmp_path / "copy"
    async with open_directory_store(copy) as store:
        await run(skopeo, "copy", "--preserve-digests", f"oci:{tmp_path}/layout", f"oci:{copy}:{image.name}")
        assert await is_known(store, image)
    assert json.loads((copy / "index.json").read_bytes())["manifests"]


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def run(*command: str, given: bytes = b"", status: int = 0) -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    out, _ = await process.communicate(given)
    assert process.returncode == status, command
    return out
