"""Install and uninstall leave a node as it was, byte for byte, wherever they are interrupted."""

from __future__ import annotations

import contextlib
import errno
import itertools
import tomllib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from registryd.node.disk import Disk
from registryd.node.errors import ApplyFailed, ConfigConflict, NodeError, PathProblem
from tests.node.nodes import CERTS, URL, BreakingDisk, FolderNode, PowerCut, intent
from tests.node.zoo import ZOO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELEASES = ["1.7.24", "2.2.0", ""]
WISHES = {
    "all": intent(),
    "with a token": intent(has_token=True),
    "some": intent(registries=("docker.io", "ghcr.io", "c.lab", "reg.lab:5000")),
    "a cache next": intent(has_token=True, has_cache=True),
    "elsewhere": intent(config_path="/etc/registryd/certs.d"),
}


@pytest.fixture(params=ZOO)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node").with_files(ZOO[request.param])


@pytest.mark.parametrize(
    ("wish", "release"), [*(("all", release) for release in RELEASES), *((wish, "2.1.9") for wish in WISHES)]
)
def test_there_and_back(node: FolderNode, wish: str, release: str) -> None:
    before = node.state()
    try:
        outcome = node.setup(release).install(WISHES[wish])
    except ConfigConflict:
        assert node.state() == before
        return
    assert outcome.plan.changes
    after = node.state()
    for change in outcome.plan.changes:
        if change.path.suffix == ".toml" and change.after:
            tomllib.loads(change.after.text)
    again = node.setup(release).install(WISHES[wish])
    assert again.plan.changes == ()
    assert node.state() == after
    node.setup(release).uninstall()
    assert node.state() == before
    assert node.setup(release).uninstall() is None
    assert node.state() == before


def test_a_dry_run_touches_nothing(node: FolderNode) -> None:
    before = node.state()
    assert node.setup("2.1.9").preview_install(intent(has_token=True)).plan.changes
    assert node.setup("2.1.9").preview_uninstall() is None
    assert node.state() == before


def steps_of() -> Iterator[BreakingDisk]:
    """Disks that break at the first step, the second, and so on, until one does not break any more."""
    for steps in itertools.count():
        disk = BreakingDisk(steps, PowerCut())
        yield disk
        if disk.taken <= steps:
            return


INTERRUPTED = ["bare", "mirrors and comments", "docker style", "list of paths", "format 3 with drop-ins"]


@pytest.mark.parametrize("name", INTERRUPTED)
@pytest.mark.parametrize("then", ["uninstall", "install and uninstall"])
def test_an_install_interrupted_at_any_step(tmp_path: Path, name: str, then: str) -> None:
    wish = intent(has_token=True)
    node = FolderNode(tmp_path / "node").with_files(ZOO[name])
    before = node.state()
    for disk in steps_of():
        try:
            node.setup("2.1.9", disk).install(wish)
        except PowerCut:
            every_hosts_file_is_whole(node)
        if then != "uninstall":
            node.setup("2.1.9").install(wish)
        node.setup("2.1.9").uninstall()
        assert node.state() == before, f"step {disk.steps}"


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_uninstall_interrupted_at_any_step(tmp_path: Path, name: str) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO[name])
    before = node.state()
    for disk in steps_of():
        node.setup("2.1.9").install(intent(has_token=True))
        try:
            node.setup("2.1.9", disk).uninstall()
        except PowerCut:
            every_hosts_file_is_whole(node)
        node.setup("2.1.9").uninstall()
        assert node.state() == before, f"step {disk.steps}"


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_upgrade_interrupted_at_any_step(tmp_path: Path, name: str) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO[name])
    before = node.state()
    for disk in steps_of():
        node.setup("2.1.9").install(intent(has_token=True))
        try:
            node.setup("2.1.9", disk).install(intent(registries=("docker.io", "a.lab")))
        except PowerCut:
            every_hosts_file_is_whole(node)
        node.setup("2.1.9").uninstall()
        assert node.state() == before, f"step {disk.steps}"


def every_hosts_file_is_whole(node: FolderNode) -> None:
    for folder in (node.root / CERTS).iterdir() if (node.root / CERTS).exists() else ():
        file = folder / "hosts.toml"
        if not folder.name.startswith("."):
            assert folder.name == "empty.lab" or list(folder.iterdir()), "an empty folder hides _default"
            assert not file.exists() or tomllib.loads(file.read_text()) is not None


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_full_disk_at_any_step_leaves_the_node_as_it_was(tmp_path: Path, name: str) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO[name])
    before = node.state()
    for steps in itertools.count():
        disk = BreakingDisk(steps, OSError(errno.ENOSPC, "No space left on device"))
        with contextlib.suppress(NodeError):
            node.setup("2.1.9", disk).install(intent(has_token=True))
        if disk.taken <= steps:
            return
        assert node.state() == before, f"step {steps}"


def test_what_an_upgrade_no_longer_needs_is_put_back(tmp_path: Path) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    before = node.state()
    node.setup().install(intent(has_token=True))
    node.setup().install(intent(registries=("ghcr.io",)))
    assert not (node.root / CERTS / "_default").exists()
    assert not (node.root / "etc/registryd").exists()
    assert URL not in node.hosts("docker.io")
    assert URL in node.hosts("ghcr.io")
    node.setup().uninstall()
    assert node.state() == before


def test_a_failure_while_going_back_says_that_uninstall_will(tmp_path: Path) -> None:
    class Worn(BreakingDisk):
        def _step(self, operation: object) -> None:
            self.taken += 1
            if self.taken > self.steps:
                raise self.failure
            assert callable(operation)
            operation()

    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    before = node.state()
    with pytest.raises(ApplyFailed, match="uninstall"):
        node.setup(disk=Worn(8, OSError(errno.EIO, "Input/output error"))).install(intent())
    node.setup().uninstall()
    assert node.state() == before


def test_installs_and_uninstalls_at_once_take_turns(tmp_path: Path) -> None:
    """The folder that they take turns at comes and goes with them."""
    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    before = node.state()

    def there_and_back(wish: str) -> None:
        node.setup().install(WISHES[wish])
        node.setup().uninstall()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(there_and_back, ["with a token", "some", "all"] * 6))
    node.setup().uninstall()
    assert node.state() == before


@pytest.mark.parametrize("made_by_another", ["var/lib/registryd", "var/lib/registryd/node"])
def test_a_folder_that_another_run_makes_at_the_same_moment_is_as_good(tmp_path: Path, made_by_another: str) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    overtaken = node.root / made_by_another

    class Overtaken(Disk):
        def make_folder(self, path: Path) -> None:
            if path == overtaken:
                super().make_folder(path)
            super().make_folder(path)

    before = node.state()
    assert node.setup(disk=Overtaken()).install(intent()).plan.changes
    node.setup().uninstall()
    assert node.state() == before


def test_a_folder_that_goes_as_soon_as_it_is_made_is_said(tmp_path: Path) -> None:
    """As on file systems that keep nothing: it is tried again, and not for ever."""

    class Forgetful(Disk):
        def make_folder(self, path: Path) -> None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    with pytest.raises(PathProblem, match="cannot keep a record"):
        node.setup(disk=Forgetful()).install(intent())


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    node = FolderNode(tmp_path / "node").with_files(ZOO["mirrors and comments"])
    before = node.state()
    with ThreadPoolExecutor(4) as threads:
        wishes = [WISHES["with a token"], WISHES["some"]] * 4
        list(threads.map(lambda wish: node.setup().install(wish), wishes))
    node.setup().uninstall()
    assert node.state() == before
