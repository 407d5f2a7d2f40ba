"""Where a containerd is, as far as its socket tells."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from registryd.store.socket import is_containerd_at
from tests.fakes.nobody import as_nobody

if TYPE_CHECKING:
    from pathlib import Path


def test_a_socket_is_a_containerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes at most
    path = tmp_path / "containerd.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
        assert is_containerd_at(path)


@pytest.mark.parametrize("name", ["none/containerd.sock", "file"])
def test_nothing_and_a_file_are_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert not is_containerd_at(tmp_path / name)


def test_a_folder_that_we_may_not_enter_has_one(tmp_path: Path) -> None:
    """It is containerd's own, of root's; to connect says what is the matter."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0)
    try:
        with as_nobody():
            assert is_containerd_at(folder / "containerd.sock")
    finally:
        folder.chmod(0o700)
