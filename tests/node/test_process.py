"""The process behind a socket: a real listener, and /proc as a container sees that of its node."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.node.host_root import HostRoot
from registryd.node.process import Process, find_process, sees_other_files
from registryd.node.tree import NodeTree

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET = Path("/run/containerd/containerd.sock")


def add_process(node: Path, pid: int, *words: str, name: str = "containerd", exe: str = "", cwd: str = "/") -> None:
    folder = node / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(b"\0".join(map(str.encode, words)) + b"\0")
    (folder / "cwd").symlink_to(cwd)
    if exe:
        (folder / "exe").symlink_to(exe)


def found(node: Path, at: Path = SOCKET) -> Process | None:
    root = HostRoot(node)
    return find_process(root, NodeTree(root), at)


_LISTENER = """
import os, socket, sys
os.chdir(sys.argv[1])
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("containerd.sock")
    listener.listen()
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def listening(folder: Path, name: str, *words: str) -> Iterator[int]:
    """A program of that name at containerd.sock in the folder; its process."""
    folder.mkdir()
    program, script = folder / name, folder / "script.py"
    program.symlink_to(Path(sys.executable).resolve())
    script.write_text(_LISTENER)
    argv = [str(program), "-I", str(script), str(folder), *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def find(socket: Path) -> Process | None:
    return find_process(HostRoot(), NodeTree(HostRoot()), socket)


def test_the_kernel_says_who_listens(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)  # longer than the address of a socket may be
    with listening(folder, "containerd", "--config", "own.toml") as pid:
        process = find(folder / "containerd.sock")
    assert process
    assert process.pid == pid
    assert process.config == folder / "own.toml"
    assert process.executable == Path(f"/proc/{pid}/exe")


def test_who_listens_and_is_no_containerd_is_none(tmp_path: Path) -> None:
    with listening(tmp_path / "other", "proxy"):
        assert find(tmp_path / "other" / "containerd.sock") is None


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    assert found(tmp_path) is None
    assert found(tmp_path, Path("/none/containerd.sock")) is None


@pytest.mark.parametrize(
    ("words", "config"),
    [
        (("containerd",), "/etc/containerd/config.toml"),
        (("containerd", "--config", "/a.toml"), "/a.toml"),
        (("containerd", "--config=/a.toml"), "/a.toml"),
        (("containerd", "-c", "/a.toml", "-c=/b.toml"), "/b.toml"),
        (("containerd", "--log-level", "info", "-config", "sub/a.toml"), "/srv/sub/a.toml"),
        (("containerd", "-c"), "/etc/containerd/config.toml"),
    ],
)
def test_how_it_was_started(tmp_path: Path, words: tuple[str, ...], config: str) -> None:
    for name in ("a.toml", "b.toml", "srv/sub/a.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    add_process(tmp_path, 7, *words, cwd="/srv")
    process = found(tmp_path)
    assert process
    assert process.config == Path(config)


def test_of_several_the_one_at_the_socket(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "v4.toml").write_text(
        "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/four.sock'\n"
    )
    (tmp_path / "v2.toml").write_text("version = 2\n[grpc]\naddress = '/run/two.sock'\n")
    add_process(tmp_path, 5, "containerd-shim", "-address", str(SOCKET), name="containerd-shim")
    add_process(tmp_path, 6, "containerd", "-c", "/k3s.toml", "-a", "/run/k3s/containerd/containerd.sock")
    add_process(tmp_path, 7, "containerd", "-c", "/v4.toml")
    add_process(tmp_path, 8, "containerd", "-c", "/v2.toml")
    add_process(tmp_path, 3, "containerd", "-c", "/of-something-else.toml")
    add_process(tmp_path, 4, "containerd")
    (tmp_path / "proc/4/status").write_text("Name:\tcontainerd\nNSpid:\t4\t17\n")  # in a node of kind
    add_process(tmp_path, 9, "containerd")
    (tmp_path / "proc/9/status").write_text("Name:\tcontainerd\nNSpid:\t9\n")
    sockets = {"/var/run/k3s/containerd/containerd.sock": 6, "/run/four.sock": 7, "/run/two.sock": 8, str(SOCKET): 9}
    for path, pid in sockets.items():
        process = found(tmp_path, Path(path))
        assert process
        assert process.pid == pid
    assert found(tmp_path, Path("/run/other.sock")) is None


@pytest.mark.parametrize(
    ("exe", "word", "program"),
    [
        ("/usr/bin/containerd", "containerd", "/usr/bin/containerd"),
        ("/usr/bin/containerd (deleted)", "containerd", "/usr/bin/containerd"),
        ("/data/bin/k3s", "containerd", "/data/bin/containerd"),
        ("", "/opt/bin/containerd", "/opt/bin/containerd"),  # a container may not see it
        ("", "containerd", None),
    ],
)
def test_which_program_it_is(tmp_path: Path, exe: str, word: str, program: str | None) -> None:
    add_process(tmp_path, 7, word, exe=exe)
    process = found(tmp_path)
    assert process
    assert process.program == (Path(program) if program else None)
    assert process.executable is None  # below another root it is not for us to run


# What it sees


def test_one_with_a_mount_namespace_of_its_own_sees_other_files(tmp_path: Path) -> None:
    node, own = tmp_path / "node", tmp_path / "own"
    (own / "etc/containerd").mkdir(parents=True)
    (node / "etc").mkdir(parents=True)
    (node / "etc/containerd").symlink_to("/data")
    (node / "data").mkdir()
    config = Path("/etc/containerd/config.toml")
    for files, sees_other in ((own, True), (node, False), (tmp_path / "gone", False), (None, False)):
        process = Process(1, None, config, files=files)
        assert sees_other_files(HostRoot(node), process, [config, Path("/none/x")]) is sees_other
    assert not sees_other_files(HostRoot(node), None, [config])


def test_one_that_has_another_socket_of_this_name_is_not_the_one(tmp_path: Path) -> None:
    node, own, socket = tmp_path / "node", tmp_path / "own", Path("/run/containerd/containerd.sock")
    add_process(node, 7, "/usr/bin/containerd")
    for root in (node, own):
        (root / "run/containerd").mkdir(parents=True)
        (root / "run/containerd/containerd.sock").touch()
    link = node / "proc/7/root"
    link.symlink_to(node)
    assert found(node, socket) is not None
    link.unlink()
    link.symlink_to(own)
    assert found(node, socket) is None
