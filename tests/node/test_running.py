from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from registryd.node.host_root import HostRoot
from registryd.node.running import has_started_since

TICKS = os.sysconf("SC_CLK_TCK")
WRITTEN = time.time() - 10


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node whose configuration was written some seconds ago."""
    (tmp_path / "proc").mkdir()
    config = tmp_path / "config.toml"
    config.touch()
    os.utime(config, (WRITTEN, WRITTEN))
    return tmp_path


def run(node: Path, pid: int, started: float, *words: str, name: str = "containerd") -> None:
    """A process that was started so many seconds after the configuration was written."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    folder = node / "proc" / str(pid)
    folder.mkdir()
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(b"\0".join(map(str.encode, (name, *words))) + b"\0")
    (folder / "stat").write_text(
        f"{pid} (con) d) S {' '.join(['0'] * 18)} {int((WRITTEN + started - booted) * TICKS)} 0 0\n"
    )


def has_started(node: Path) -> bool:
    return has_started_since(HostRoot(node), Path("/config.toml"), Path("/config.toml"))


@pytest.mark.parametrize(("started", "is_since"), [(-5, False), (-0.1, False), (0.1, True), (5, True)])
def test_it_is_the_start_of_the_process_that_counts(node: Path, started: float, *, is_since: bool) -> None:
    run(node, 7, started, "--config", "/config.toml")
    run(node, 8, -9, name="containerd-shim")
    assert has_started(node) is is_since


def test_a_containerd_with_another_configuration_does_not_count(node: Path) -> None:
    run(node, 7, 1, "--config=/config.toml")
    run(node, 8, -9, "-c", "/run/other.toml")
    assert has_started(node)


def test_where_no_process_is_seen_a_restart_stays_due(node: Path) -> None:
    assert not has_started(node)
    run(node, 7, 1)
    (node / "proc/7/stat").write_text("7 (containerd) S\n")
    assert not has_started(node)
