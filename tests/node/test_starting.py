"""When containerd has started, by its socket."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from registryd.node.distribution import PLAIN
from registryd.node.facts import NodeFacts
from registryd.node.host_commands import HostCommands
from registryd.node.host_root import HostRoot
from registryd.node.program import ContainerdProgram
from registryd.node.release import Release
from registryd.node.starting import has_started_since, wait_started_since

MOMENT = time.time() - 10


def facts_of(root: HostRoot) -> NodeFacts:
    program = ContainerdProgram(HostCommands(root), None)
    return NodeFacts(PLAIN, Release(), PLAIN.config, program, socket=Path("/run/s/containerd.sock"))


@pytest.fixture
def root(tmp_path: Path) -> HostRoot:
    (tmp_path / "run/s").mkdir(parents=True)
    return HostRoot(tmp_path)


def start(root: HostRoot, seconds: float) -> None:
    """Make its socket, so many seconds after the moment."""
    path = root.path / "run/s/containerd.sock"
    path.unlink(missing_ok=True)
    path.touch()
    os.utime(path, (MOMENT + seconds,) * 2)


@pytest.mark.parametrize(("seconds", "is_since"), [(-5, False), (-0.001, False), (0.001, True), (5, True)])
def test_it_is_the_socket_that_counts(root: HostRoot, seconds: float, *, is_since: bool) -> None:
    start(root, seconds)
    assert has_started_since(root, facts_of(root), MOMENT) is is_since


def test_where_none_is_it_has_not(root: HostRoot) -> None:
    assert not has_started_since(root, facts_of(root), MOMENT)


def test_a_start_is_waited_for(root: HostRoot) -> None:
    start(root, -5)
    timer = threading.Timer(0.2, start, (root, 1))
    timer.start()
    assert wait_started_since(root, facts_of(root), MOMENT, patience=30)
    timer.join()


def test_and_not_for_ever(root: HostRoot) -> None:
    start(root, -5)
    assert not wait_started_since(root, facts_of(root), MOMENT, patience=0.1)
    (root.path / "run/s/containerd.sock").unlink()
    (root.path / "run/s").rmdir()
    assert not wait_started_since(root, facts_of(root), MOMENT, patience=0.1)
