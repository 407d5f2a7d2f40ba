from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.aio.file_events import FileEvents
from registryd.content.source import StoreUnavailable
from registryd.oci.digest import Digest
from registryd.store.blob_folder import BlobFolder
from registryd.store.local_files import is_local
from registryd.store.stocktaking import Stocktaking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE, TWO = Digest.of(b"one"), Digest.of(b"two", algorithm="sha512")


@contextmanager
def stocktaking() -> Iterator[Stocktaking]:
    made = Stocktaking(FileEvents())
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    return tmp_path


def put(root: Path, digest: Digest) -> None:
    folder = root / "blobs" / digest.algorithm
    folder.mkdir(exist_ok=True)
    (folder / digest.encoded).touch()


def nothing() -> tuple[Digest, ...]:
    return ()


async def changed(taking: Stocktaking) -> None:
    async with asyncio.timeout(30):
        await taking.wait_changed()


async def test_all_that_has_the_name_of_a_blob_is_there(root: Path) -> None:
    put(root, ONE)
    put(root, TWO)
    (root / "blobs/sha256/README").touch()
    (root / "blobs/sha256" / ONE.encoded[:-1]).touch()
    with stocktaking() as taking:
        stock = await taking.take(BlobFolder(root), lambda: [Digest.of(b"arriving")])
    assert stock.held == {ONE, TWO}
    assert stock.arriving == {Digest.of(b"arriving")}
    assert stock.is_complete


async def test_what_comes_and_goes_is_told_also_in_a_folder_that_was_not_there(root: Path) -> None:
    blobs = BlobFolder(root)
    with stocktaking() as taking:
        assert not (await taking.take(blobs, nothing)).held
        put(root, ONE)
        await changed(taking)
        assert (await taking.take(blobs, nothing)).held == {ONE}
        (root / "blobs/sha512").mkdir()
        await changed(taking)
        await taking.take(blobs, nothing)
        put(root, TWO)
        await changed(taking)
        assert (await taking.take(blobs, nothing)).held == {ONE, TWO}
        (root / "blobs/sha256" / ONE.encoded).unlink()
        await changed(taking)
        assert (await taking.take(blobs, nothing)).held == {TWO}


async def test_what_cannot_be_watched_is_not_promised(root: Path) -> None:
    with stocktaking() as taking:
        stock = await taking.take(BlobFolder(root), nothing, besides=[root / "absent"])
        assert not stock.is_complete
        assert (await taking.take(BlobFolder(root), nothing, besides=[root])).is_complete


async def test_a_store_without_blobs_has_none_and_promises_nothing(tmp_path: Path) -> None:
    with stocktaking() as taking:
        stock = await taking.take(BlobFolder(tmp_path), nothing)
    assert not stock.held
    assert not stock.is_complete


async def test_a_folder_that_cannot_be_listed_is_a_store_that_cannot_say(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/sha256").touch()
    with stocktaking() as taking, pytest.raises(StoreUnavailable):
        await taking.take(BlobFolder(tmp_path), nothing)


def table(folder: Path, *kinds: str) -> Path:
    device = folder.stat().st_dev
    other, here = kinds
    mounts = folder / "mountinfo"
    mounts.write_text(
        f"22 1 0:99999 / /proc rw,nosuid shared:5 - {other} proc rw\n"
        f"30 1 {os.major(device)}:{os.minor(device)} / /data rw shared:1 - {here} server:/export rw,vers=4.2\n"
    )
    return mounts


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay"])
def test_what_only_this_machine_writes_to_is_local(tmp_path: Path, kind: str) -> None:
    assert is_local(tmp_path, mounts=table(tmp_path, "nfs4", kind))


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "ceph", "virtiofs", "fuse.sshfs"])
def test_what_others_may_write_to_is_not(tmp_path: Path, kind: str) -> None:
    assert not is_local(tmp_path, mounts=table(tmp_path, "ext4", kind))


def test_a_file_system_of_which_the_table_does_not_know_is_local(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 0:99999 / /proc rw - nfs4 proc rw\n")
    assert is_local(tmp_path, mounts=mounts)
