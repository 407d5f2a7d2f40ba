"""Layouts that are odd, broken or hostile: never a file outside the store, never more than one line about it."""

from __future__ import annotations

import json
import os
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.directory.layout import Layout
from registryd.store.directory.store import DirectoryStore, open_directory_store
from tests.contracts.content_store import is_known
from tests.fakes.images import OCI_LAYER, docker_image, oci_image, oci_index, raw_descriptor
from tests.fakes.layouts import blob_path, write_blob, write_image, write_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"of the host"
DIGEST = Digest.of(SECRET)


# ---- which directories are taken


async def test_absent_directory_becomes_a_layout(root: Path) -> None:
    async with open_directory_store(root / "below") as store:
        assert await store.names() == []
    assert json.loads((root / "below" / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


@pytest.mark.parametrize("leftover", ["lost+found", "blobs", "ingest", "index.json", ".oci-layout"])
async def test_directory_that_was_not_finished_becomes_a_layout(root: Path, leftover: str) -> None:
    root.mkdir()
    if leftover == "index.json":
        write_index(root)
    elif leftover.startswith("."):
        (root / leftover).write_text("{")
    else:
        (root / leftover).mkdir()
    async with open_directory_store(root) as store:
        assert await store.names() == []


@pytest.mark.parametrize("oci_layout", [None, "", "{", "[]", "1"])
async def test_other_directory_is_refused_and_left_alone(root: Path, oci_layout: str | None) -> None:
    root.mkdir()
    (root / "letters").mkdir()
    if oci_layout is not None:
        (root / "oci-layout").write_text(oci_layout)
    before = sorted(root.rglob("*"))
    with pytest.raises(StoreUnavailable, match="not an OCI image layout"):
        async with open_directory_store(root):
            pass
    assert sorted(root.rglob("*")) == before


async def test_file_in_place_of_the_directory(root: Path) -> None:
    root.write_text("x")
    with pytest.raises(StoreUnavailable):
        async with open_directory_store(root):
            pass


async def test_link_to_the_directory_is_the_operators_choice(root: Path, tmp_path: Path) -> None:
    image = oci_image()
    write_image(tmp_path / "real", image)
    root.symlink_to(tmp_path / "real")
    async with open_directory_store(root) as store:
        assert await is_known(store, image)


async def test_check_tells_that_the_directory_is_gone(root: Path, store: DirectoryStore) -> None:
    await store.check()
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable):
        await store.check()
    assert not root.exists()


# ---- what is among the blobs


async def test_linked_blob_is_not_there(root: Path, store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    blob_path(root, DIGEST).symlink_to(tmp_path / "secret")
    await _is_not_found(store, DIGEST)


@pytest.mark.parametrize("folder", ["blobs", "blobs/sha256"])
async def test_linked_folder_is_not_entered(root: Path, store: DirectoryStore, tmp_path: Path, folder: str) -> None:
    outside = tmp_path / "outside"
    (outside / "sha256").mkdir(parents=True)
    for place in (outside / DIGEST.encoded, outside / "sha256" / DIGEST.encoded):
        place.write_bytes(SECRET)
    (root / "blobs" / "sha256").rmdir()
    if folder == "blobs":
        (root / "blobs").rmdir()
    (root / folder).symlink_to(outside)
    await _is_not_found(store, DIGEST)
    with pytest.raises(StoreUnavailable):
        await _put(store, b"something new")
    assert sorted(path.name for path in outside.iterdir()) == sorted(["sha256", DIGEST.encoded])


async def test_folder_and_fifo_are_no_blobs(root: Path, store: DirectoryStore) -> None:
    blob_path(root, DIGEST).mkdir()
    fifo = Digest.of(b"fifo")
    os.mkfifo(blob_path(root, fifo))
    await _is_not_found(store, DIGEST)
    await _is_not_found(store, fifo)


async def test_store_that_cannot_say_is_not_a_miss(store: DirectoryStore) -> None:
    with no_descriptors_free(), pytest.raises(StoreUnavailable) as caught:
        await store.find(DIGEST)
    assert not isinstance(caught.value, ContentNotFound)


# ---- what index.json and the manifests say


async def test_name_of_containerd_goes_before_the_short_one(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    annotations = {"io.containerd.image.name": str(image.name), "org.opencontainers.image.ref.name": "v1"}
    write_image(root, image, **annotations)
    assert await is_known(store, image)


async def test_short_name_is_no_name_but_its_content_is_served(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    write_image(root, image, **{"org.opencontainers.image.ref.name": "v1"})
    assert await store.names() == []
    assert (await store.find(image.digest_of(OCI_LAYER))).media_type == OCI_LAYER


async def test_wrong_entry_is_ignored_with_one_line(
    root: Path, store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    image = oci_image()
    write_image(root, image)
    good = raw_descriptor(image.target, annotations={"io.containerd.image.name": str(image.name)})
    write_index(root, {"digest": "sha256:../../etc/passwd", "size": 1, "mediaType": "a/b"}, 7, None, good)
    assert await is_known(store, image)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_broken_index_keeps_what_was_known(
    root: Path, store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    image = oci_image()
    write_image(root, image)
    assert await is_known(store, image)
    (root / "index.json").write_text('{"manifests": [')
    for _ in range(3):
        assert await is_known(store, image)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(StoreUnavailable, match="nothing can be named"):
        await store.name({image.name: image.target})


async def test_absent_index_means_no_names(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    write_image(root, image)
    (root / "index.json").unlink()
    assert await store.names() == []
    assert (await store.find(image.target.digest)).media_type == image.target.media_type


async def test_own_type_of_a_manifest_wins_over_what_others_call_it(root: Path, store: DirectoryStore) -> None:
    image = docker_image()
    write_image(root, image)
    lying = raw_descriptor(image.target) | {"mediaType": OCI_LAYER}
    write_index(root, lying)
    assert (await store.find(image.target.digest)).media_type == image.target.media_type


async def test_what_is_called_a_manifest_and_is_none_has_no_type(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    layer = image.digest_of(OCI_LAYER)
    for digest, data in image.blobs.items():
        write_blob(root, digest, data)
    write_index(root, {"mediaType": image.target.media_type, "digest": str(layer), "size": 9})
    assert (await store.find(layer)).media_type is None


async def test_manifest_that_no_index_mentions_is_told_by_itself(root: Path, store: DirectoryStore) -> None:
    image = oci_index()
    for digest, data in image.blobs.items():
        write_blob(root, digest, data)
    assert (await store.find(image.target.digest)).media_type == image.target.media_type


async def test_damaged_manifest_has_no_type_until_it_is_put_right(root: Path, store: DirectoryStore) -> None:
    image = docker_image()
    write_blob(root, image.target.digest, oci_image().manifest)
    assert (await store.find(image.target.digest)).media_type is None
    await _put(store, image.manifest)
    assert (await store.find(image.target.digest)).media_type == image.target.media_type


async def test_children_of_a_manifest_just_written_have_types(store: DirectoryStore) -> None:
    image = oci_image()
    for data in image.blobs.values():
        await _put(store, data)
    assert (await store.find(image.digest_of(OCI_LAYER))).media_type == OCI_LAYER


# ---- naming


async def test_name_of_what_is_not_there_is_refused(root: Path, store: DirectoryStore) -> None:
    image, present = oci_image(), docker_image()
    await _put(store, present.manifest)
    with pytest.raises(ContentNotFound):
        await store.name({present.name: present.target, image.name: image.target})
    assert await store.names() == []


async def test_naming_keeps_what_it_does_not_understand(root: Path, store: DirectoryStore) -> None:
    strange = {"of": "another tool"}
    write_index(root, strange)
    image = oci_image()
    await _put(store, image.manifest)
    await store.name({image.name: image.target})
    document: dict[str, Any] = json.loads((root / "index.json").read_bytes())
    assert document["manifests"][0] == strange
    assert document["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"] == "v1"


async def test_seen_at_survives_a_restart(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    await _put(store, image.manifest)
    await store.name({image.name: image.target})
    [first] = await store.resolve(image.name)
    os.utime(root / "index.json", (0, 0))
    async with open_directory_store(root) as again:
        assert list(await again.resolve(image.name)) == [first]


def test_processes_name_one_after_the_other(root: Path) -> None:
    """Every change of index.json reads the one before, whoever made it."""
    layout = Layout(root)
    layout.prepare()
    counts = []

    def count() -> None:
        for _ in range(50):
            with layout.locked():
                data, _ = layout.read_index()
                layout.replace_index(data + b" ")
                counts.append(len(data))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(counts)) == 150


@contextmanager
def no_descriptors_free() -> Iterator[None]:
    """Every attempt to open something fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _is_not_found(store: DirectoryStore, digest: Digest) -> None:
    with pytest.raises(ContentNotFound):
        await store.find(digest)
    with pytest.raises(ContentNotFound):
        await store.open(digest, Span.whole)


async def _put(store: DirectoryStore, data: bytes) -> None:
    ingest = await store.begin(Digest.of(data), size=len(data))
    await ingest.write(data)
    await ingest.commit()


# ---- what turns out to be bad


async def test_a_withdrawn_blob_is_moved_out_of_the_way_and_can_be_received_anew(
    root: Path, store: DirectoryStore
) -> None:
    data = b"what it should be"
    digest = Digest.of(data)
    blob = root / "blobs" / "sha256" / digest.encoded
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(b"rotten")
    await store.withdraw(digest)
    with pytest.raises(ContentNotFound):
        await store.find(digest)
    assert (root / "corrupt" / digest.encoded).read_bytes() == b"rotten"
    await store.withdraw(digest)

    ingest = await store.begin(digest, size=len(data))
    await ingest.write(data)
    await ingest.commit()
    await ingest.aclose()
    assert (await store.find(digest)).size == len(data)
