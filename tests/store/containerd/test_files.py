from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.containerd.files import BlobFiles
from registryd.store.containerd.presence import Located

if TYPE_CHECKING:
    from pathlib import Path

DATA = b'{"a": "document"}'
DIGEST = Digest.of(DATA)
LOCATED = Located(DIGEST, len(DATA), "k8s.io")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    return folder / DIGEST.encoded


def make(kind: str, path: Path, outside: Path) -> None:
    match kind:
        case "file":
            path.write_bytes(DATA)
        case "short file":
            path.write_bytes(DATA[:-1])
        case "link":
            outside.write_bytes(DATA)
            path.symlink_to(outside)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, 0o140600)


async def test_a_file_is_opened(tmp_path: Path, path: Path) -> None:
    make("file", path, tmp_path)
    files = BlobFiles(tmp_path)
    assert not files.lacks(DIGEST)
    body = await files.open(LOCATED, Span(1, 4))
    assert body.length == 3
    await body.aclose()
    assert await files.read_document(DIGEST, "k8s.io") == DATA


async def test_what_is_not_there(tmp_path: Path) -> None:
    files = BlobFiles(tmp_path)
    assert files.lacks(DIGEST)
    with pytest.raises(ContentNotFound):
        await files.open(LOCATED, Span.whole(1))
    with pytest.raises(ContentNotFound):
        await files.read_document(DIGEST, "k8s.io")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "socket"])
async def test_only_regular_files_are_opened(tmp_path: Path, path: Path, kind: str) -> None:
    make(kind, path, tmp_path / "outside")
    files = BlobFiles(tmp_path)
    with pytest.raises(StoreUnavailable):
        await files.open(LOCATED, Span.whole(len(DATA)))
    with pytest.raises(StoreUnavailable):
        await files.read_document(DIGEST, "k8s.io")


async def test_a_file_that_was_cut_short_is_not_opened(tmp_path: Path, path: Path) -> None:
    make("short file", path, tmp_path)
    with pytest.raises(StoreUnavailable, match="has 16 bytes instead of 17"):
        await BlobFiles(tmp_path).open(LOCATED, Span.whole(len(DATA)))


async def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    make("file", tmp_path / "blobs", tmp_path)
    files = BlobFiles(tmp_path)
    assert not files.lacks(DIGEST)
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        await files.open(LOCATED, Span.whole(1))
