"""A read of a file that others write ends at once, whatever stands at the path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 7, 8])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    assert read_plain(path, most_bytes=8) == b"x" * size


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 9)
    with pytest.raises(OSError, match="is larger than 8 bytes"):
        read_plain(path, most_bytes=8)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe or a device"):
        read_plain(tmp_path / "pipe", most_bytes=8)


def test_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="is a pipe or a device"):
        read_plain(tmp_path / "link", most_bytes=8)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_plain(tmp_path, most_bytes=8)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        read_plain(tmp_path / "link", most_bytes=8)
