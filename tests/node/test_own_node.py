from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from registryd.node.own_node import configure_containerd
from registryd.notation import Address
from tests.node.nodes import FolderNode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_an_agent_sets_up_its_own_node_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = FolderNode(tmp_path / "node").with_files({"etc/containerd/config.toml": "version = 2\n"})
    caplog.set_level(logging.INFO)
    headers = (("Registryd-Token", "a-token"),)
    outcome = await configure_containerd(Address("0.0.0.0", 3182), headers=headers, setup=node.setup())
    assert outcome.restart_due
    assert '[host."http://127.0.0.1:3182"]' in node.hosts("_default")
    assert "must be restarted" in caplog.text
    assert "a-token" not in caplog.text
    caplog.clear()
    await configure_containerd(Address("0.0.0.0", 3182), headers=headers, setup=node.setup())
    assert "hosts.toml" not in caplog.text
