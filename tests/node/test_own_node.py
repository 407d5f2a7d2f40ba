from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from registryd.node.hosts_file import hosts_in_order
from registryd.node.own_node import configure_containerd
from registryd.notation import Address
from registryd.settings import RegistrySettings
from tests.node.nodes import FolderNode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


CACHED = RegistrySettings(next_endpoints=("http://cache.lab:3172",))


async def test_an_agent_sets_up_its_own_node_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = FolderNode(tmp_path / "node").with_files({"etc/containerd/config.toml": "version = 2\n"})
    caplog.set_level(logging.INFO)
    headers = (("Registryd-Token", "a-token"),)
    outcome = await configure_containerd(CACHED, Address("0.0.0.0", 3182), headers=headers, setup=node.setup())
    assert outcome.restart_due
    assert hosts_in_order(node.hosts("_default")) == ["http://127.0.0.1:3182", "http://cache.lab:3172"]
    assert "must be restarted" in caplog.text
    assert "a-token" not in caplog.text
    caplog.clear()
    await configure_containerd(CACHED, Address("0.0.0.0", 3182), headers=headers, setup=node.setup())
    assert "hosts.toml" not in caplog.text
