"""Where an agent looks for hosts.toml files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.agent import node_store
from registryd.agent.hosts_folders import HostsFolders
from registryd.agent.node_store import choosing_of, recorded_socket
from registryd.config.agent import (
    AgentSettings,
    AuthorizationMode,
    AuthorizationSettings,
    RegistrySettings,
    Settings,
    StoreKind,
    StoreSettings,
)
from registryd.node.disk import Disk
from registryd.node.host_root import HostRoot
from registryd.node.record import InstallRecord
from registryd.node.record_store import RecordStore

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = Path("/run/own/containerd.sock")


def settings(**changes: object) -> Settings:
    return replace(Settings(), **changes)  # type: ignore[arg-type]


async def test_a_setting_says_where(tmp_path: Path) -> None:
    named = settings(authorization=AuthorizationSettings(hosts_dir=tmp_path))
    assert await HostsFolders(named).get() == (tmp_path,)


async def test_without_a_containerd_it_is_the_usual_place(tmp_path: Path) -> None:
    """Nobody listens there, and nobody is asked twice within a minute."""
    folders = HostsFolders(settings(store=StoreSettings(containerd_socket=tmp_path / "none.sock")))
    first = await folders.get()
    assert Path("/etc/containerd/certs.d") in first
    assert await folders.get() is first
    directory = settings(store=StoreSettings(kind=StoreKind.DIRECTORY))
    assert await HostsFolders(directory).get() == (Path("/etc/containerd/certs.d"),)


@pytest.mark.parametrize(
    ("mode", "single", "are_needed"),
    [("public", "open", True), ("open", "public", True), ("open", "upstream", False)],
)
def test_who_asks_no_upstream_needs_none(mode: str, single: str, *, are_needed: bool) -> None:
    registries = {"a.lab": AuthorizationMode(single)}
    authorization = AuthorizationSettings(mode=AuthorizationMode(mode), registries=registries)
    assert HostsFolders(settings(authorization=authorization)).are_needed is are_needed


# The containerd that was set up


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[InstallRecord | None], None]:
    """Puts a record where `install` would have; None: one that cannot be read."""
    store = RecordStore(HostRoot(), Disk(), tmp_path / "registryd/node")
    monkeypatch.setattr(node_store, "_RECORD", store.path)

    def put(record: InstallRecord | None) -> None:
        with store.locked():
            store.save(record or InstallRecord((), ()))
        if record is None:
            store.path.write_text("{")

    return put


def test_the_record_of_an_install_says_which_containerd(record: Callable[[InstallRecord | None], None]) -> None:
    assert recorded_socket(Settings()) is None
    record(InstallRecord((), (), socket=SOCKET))
    assert recorded_socket(Settings()) == SOCKET
    assert choosing_of(Settings()).now().kind is StoreKind.CONTAINERD
    named = settings(store=StoreSettings(containerd_socket=Path("/named.sock")))
    assert recorded_socket(named) is None
    assert choosing_of(named).now().socket == Path("/named.sock")
    assert recorded_socket(settings(store=StoreSettings(kind=StoreKind.DIRECTORY))) is None


@pytest.mark.parametrize("broken", [None, InstallRecord((), ())])
def test_a_record_that_says_nothing_is_passed_over(
    record: Callable[[InstallRecord | None], None], broken: InstallRecord | None
) -> None:
    record(broken)
    assert recorded_socket(Settings()) is None


@pytest.mark.parametrize(
    ("changes", "is_sign"),
    [
        ({}, False),
        ({"registry": RegistrySettings(token_file=Path("/etc/registryd/token"))}, True),
        ({"agent": AgentSettings(configure_containerd=True)}, True),
    ],
)
def test_a_token_and_the_flag_are_signs(changes: dict[str, object], *, is_sign: bool) -> None:
    assert choosing_of(settings(**changes)).is_for_containerd is is_sign
