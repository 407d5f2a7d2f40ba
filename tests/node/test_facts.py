"""Which containerd a node has: real sockets below a root, and what is behind them as given here."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.node.errors import ConfigConflict
from registryd.node.facts import Containerd, NodeFacts, find_facts
from registryd.node.host_root import HostRoot
from registryd.node.release import Release
from registryd.store.containerd.introspection import Introspection
from tests.node.test_process import add_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLAIN = "/run/containerd/containerd.sock"
K3S = "/run/k3s/containerd/containerd.sock"
NEW, OLD = Introspection("2.4.2", has_cri=True, config_path="/a"), Introspection("1.7.24", has_cri=True)
DOCKERS = Introspection("2.3.7", has_cri=False)


@contextmanager
def containerds(root: Path, *paths: str) -> Iterator[None]:
    with ExitStack() as stack:
        for path in paths:
            folder = root / path[1:].rpartition("/")[0]
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_PATH)
            stack.callback(os.close, descriptor)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(f"/proc/self/fd/{descriptor}/containerd.sock")
        yield


def find(
    root: Path, said: Mapping[str, Introspection], hints: Containerd | None = None, recorded: str = ""
) -> NodeFacts:
    def ask(path: Path, _: float) -> Introspection | None:
        return said.get(f"/{path.relative_to(root)}")

    return find_facts(HostRoot(root), hints or Containerd(), ask, recorded=Path(recorded) if recorded else None)


def test_where_none_runs_the_files_say(tmp_path: Path) -> None:
    facts = find(tmp_path, {})
    assert (facts.is_running, str(facts.config), str(facts.socket)) == (False, "/etc/containerd/config.toml", PLAIN)
    (tmp_path / "etc/k0s").mkdir(parents=True)
    (tmp_path / "etc/k0s/containerd.toml").touch()
    assert find(tmp_path, {}).distribution.name == "k0s"


def test_the_one_that_answers_says_its_version(tmp_path: Path) -> None:
    with containerds(tmp_path, PLAIN):
        facts = find(tmp_path, {PLAIN: NEW})
    assert (facts.is_running, facts.release, facts.told) == (True, Release((2, 4, 2)), NEW)
    assert find(tmp_path, {}, Containerd(release=Release((1, 6, 0)))).release == Release((1, 6, 0))


def test_one_that_does_not_answer_and_is_not_seen_is_none(tmp_path: Path) -> None:
    with containerds(tmp_path, PLAIN):
        assert not find(tmp_path, {}).is_running


def test_its_file_is_the_one_that_it_was_started_with(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("version = 4\n")
    add_process(tmp_path, 7, "containerd", "--config", "/c.toml")
    with containerds(tmp_path, PLAIN):
        facts = find(tmp_path, {PLAIN: NEW})
        assert str(facts.config) == "/c.toml"
        assert find(tmp_path, {PLAIN: NEW}, Containerd(config=Path("/c.toml"))).config == facts.config
        with pytest.raises(ConfigConflict, match=r"was started with /c\.toml and does not read /d\.toml"):
            find(tmp_path, {PLAIN: NEW}, Containerd(config=Path("/d.toml")))


def test_k3s_with_a_folder_of_its_own(tmp_path: Path) -> None:
    config = "/srv/k3s/agent/etc/containerd/config.toml"
    (tmp_path / config[1:]).parent.mkdir(parents=True)
    (tmp_path / config[1:]).touch()
    add_process(tmp_path, 7, "containerd", "-c", config, "-a", K3S)
    with containerds(tmp_path, K3S):
        facts = find(tmp_path, {K3S: NEW})
    assert (facts.distribution.name, str(facts.config), str(facts.socket)) == ("k3s", config, K3S)
    assert str(facts.distribution.hosts) == "/srv/k3s/agent/etc/containerd/certs.d"


def test_dockers_own_is_passed_by(tmp_path: Path) -> None:
    with containerds(tmp_path, PLAIN, K3S):
        assert str(find(tmp_path, {PLAIN: DOCKERS, K3S: NEW}).socket) == K3S
        assert str(find(tmp_path, {PLAIN: NEW, K3S: DOCKERS}).socket) == PLAIN
        assert str(find(tmp_path, {PLAIN: DOCKERS}).socket) == PLAIN


def test_of_two_that_could_be_meant_one_is_named(tmp_path: Path) -> None:
    both = {PLAIN: NEW, K3S: OLD}
    with containerds(tmp_path, PLAIN, K3S):
        with pytest.raises(ConfigConflict, match="2 containerds answer on this node"):
            find(tmp_path, both)
        assert find(tmp_path, both, Containerd(socket=Path(PLAIN))).told == NEW
        assert find(tmp_path, both, recorded=K3S).told == OLD
        assert find(tmp_path, both, Containerd(socket=Path(PLAIN)), recorded=K3S).told == NEW


def test_a_record_of_one_that_is_gone_is_no_hint(tmp_path: Path) -> None:
    with containerds(tmp_path, PLAIN):
        assert str(find(tmp_path, {PLAIN: NEW}, recorded=K3S).socket) == PLAIN


def test_a_dead_socket_of_the_recorded_one_hides_no_other(tmp_path: Path) -> None:
    """A reinstalled node: the file of the earlier containerd's socket is there until the next boot."""
    with containerds(tmp_path, PLAIN, K3S):
        facts = find(tmp_path, {K3S: NEW}, recorded=PLAIN)
        assert (str(facts.socket), facts.told) == (K3S, NEW)


def test_a_link_from_one_known_place_to_another_is_no_second_one(tmp_path: Path) -> None:
    with containerds(tmp_path, K3S):
        link = tmp_path / PLAIN[1:]
        link.parent.mkdir(parents=True)
        link.symlink_to(K3S)
        assert str(find(tmp_path, {K3S: NEW}).socket) == K3S
        assert find(tmp_path, {K3S: NEW}, recorded=PLAIN).told == NEW
        assert find(tmp_path, {K3S: NEW}, Containerd(socket=Path(PLAIN))).told == NEW


def test_a_file_that_is_named_says_where_its_containerd_answers(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('version = 2\n[grpc]\naddress = "/run/own/containerd.sock"\n')
    with containerds(tmp_path, PLAIN, "/run/own/containerd.sock"):
        facts = find(tmp_path, {PLAIN: NEW, "/run/own/containerd.sock": OLD}, Containerd(config=Path("/c.toml")))
    assert (facts.told, str(facts.config)) == (OLD, "/c.toml")


def test_on_talos_its_own_places(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=talos\n")
    facts = find(tmp_path, {})
    assert (facts.distribution.name, str(facts.config)) == ("Talos", "/etc/cri/containerd.toml")
