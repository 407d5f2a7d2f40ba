"""An agent keeps its node set up: told by the kernel, patient with who insists, and over when it is taken back."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.agent.node_setup import keep_up
from registryd.node.upkeep import Upkeep
from tests.node.nodes import CERTS, CONFIG_V2, URL, FolderNode, intent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HOSTS = f"{CERTS}/a.lab/hosts.toml"
OWN = '[host."http://m"]\n'


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node").with_files({"etc/containerd/config.toml": CONFIG_V2, HOSTS: OWN})


@asynccontextmanager
async def kept_up(node: FolderNode) -> AsyncIterator[Upkeep]:
    upkeep = Upkeep(intent(), node.setup)
    task = asyncio.create_task(keep_up(upkeep))
    try:
        await until(lambda: URL in node.text(HOSTS), "the first time")
        yield upkeep
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within 60 s: {what}")


@pytest.mark.timeout(240)
async def test_what_is_written_again_is_put_right(node: FolderNode) -> None:
    async with kept_up(node):
        (node.root / HOSTS).write_text(OWN)  # in place
        await until(lambda: URL in node.text(HOSTS), "a file that was written again")
        new = node.root / CERTS / "b.lab"
        new.mkdir()
        await until((new / "hosts.toml").exists, "a folder that hides _default")
        (node.root / "etc/containerd/config.toml").write_text("version = 2\n")
        await until(lambda: "config_path" in node.text("etc/containerd/config.toml"), "a configuration without a path")


@pytest.mark.timeout(240)
async def test_a_node_that_was_taken_back_is_left(node: FolderNode) -> None:
    before = node.state()
    async with kept_up(node) as upkeep:
        await asyncio.to_thread(node.setup().uninstall)
        await until(lambda: upkeep.is_over, "the end of it")
        (node.root / HOSTS).write_text(OWN)
        await asyncio.sleep(0.5)
        assert node.state() == before


@pytest.mark.timeout(240)
async def test_who_insists_is_not_fought_without_end(node: FolderNode) -> None:
    """Each rewriting takes longer to be answered than the one before."""
    looks: list[float] = []

    class Counted(Upkeep):
        def look(self) -> tuple[bool, frozenset[Path]]:
            looks.append(time.monotonic())
            (node.root / HOSTS).write_text(OWN)
            return super().look()

    task = asyncio.create_task(keep_up(Counted(intent(), node.setup)))
    await until(lambda: len(looks) >= 5, "five looks")
    task.cancel()
    await asyncio.wait([task])
    # The first two come at once, as the watch begins. Then the pauses are 0.5, 1 and 2 s, a fifth of which is chance.
    assert looks[4] - looks[1] > 0.8 * 3.5
