from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from registryd.node.host_root import HostRoot
from registryd.node.running import has_started_since

BOOTED = int(time.time()) - 1000
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node whose configuration was written 500 seconds after its start."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(f"cpu 1 2 3\nbtime {BOOTED}\n")
    config = tmp_path / "config.toml"
    config.touch()
    os.utime(config, (BOOTED + 500, BOOTED + 500))
    return tmp_path


def run(node: Path, pid: int, started: int, *words: str, name: str = "containerd") -> None:
    folder = node / "proc" / str(pid)
    folder.mkdir()
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(b"\0".join(map(str.encode, (name, *words))) + b"\0")
    (folder / "stat").write_text(f"{pid} (con) d) S {' '.join(['0'] * 18)} {started * TICKS} 0 0\n")


def has_started(node: Path) -> bool:
    return has_started_since(HostRoot(node), Path("/config.toml"), Path("/config.toml"))


@pytest.mark.parametrize(("started", "is_since"), [(400, False), (600, True)])
def test_it_is_the_start_of_the_process_that_counts(node: Path, started: int, *, is_since: bool) -> None:
    run(node, 7, started, "--config", "/config.toml")
    run(node, 8, 100, name="containerd-shim")
    assert has_started(node) is is_since


def test_a_containerd_with_another_configuration_does_not_count(node: Path) -> None:
    run(node, 7, 600, "--config=/config.toml")
    run(node, 8, 100, "-c", "/run/other.toml")
    assert has_started(node)


def test_where_no_process_is_seen_a_restart_stays_due(node: Path) -> None:
    assert not has_started(node)
    run(node, 7, 600)
    (node / "proc/stat").unlink()
    assert not has_started(node)
