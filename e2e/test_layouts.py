"""Every layout that people have: set up, asked first by the one that runs, found to be well, and taken back."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from typing import TYPE_CHECKING

import pytest

from e2e.layouts import LAYOUTS, Layout
from e2e.node_root import NodeRoot, node_root
from lab.agent import AGENT, Agent
from lab.errors import CommandError
from lab.toml_text import merged
from lab.versions import ALIVE_SERIES
from registryd.node.images_settings import ContainerdImagesSettings, images_table
from registryd.node.release import Release as NodeRelease
from registryd.store.containerd.introspection import introspect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet

    from lab.network import Network
    from lab.toml_text import Table
    from lab.versions import Release, Series

pytestmark = pytest.mark.timeout(300)

NEWEST: Series = ALIVE_SERIES[-1]
OLD_SERIES: Series = "1.6"
SECOND: Series = "2.1"  # for what neither the newest nor the old one does
SETTINGS: Table = {"peers": {"insecure": True, "listen": "127.0.0.1:3173", "content_listen": "127.0.0.1:3174"}}


def cases() -> list[ParameterSet]:
    """Each layout on the newest containerd and on an old one that it is of."""
    found: list[ParameterSet] = []
    for layout in LAYOUTS:
        series = [each for each in (NEWEST, OLD_SERIES) if each in layout.series] or [SECOND]
        found += [pytest.param(layout, each, id=f"{layout}-{each}") for each in series]
    return found


class Laid:
    """A layout on a node, and what its distribution would do to it."""

    def __init__(self, layout: Layout, node: NodeRoot, release: Release) -> None:
        self.layout = layout
        self.node = node
        self.release = release

    async def start(self) -> None:
        layout = self.layout
        if layout.before_start:
            await layout.before_start(self.node, self.release)
        await self.node.start([layout.program, *layout.words], layout.socket)

    async def restart(self) -> None:
        await self.node.stop()
        await self.start()

    async def looks_in(self) -> str:
        """The config_path of the one that runs: by its own word, else by its program, just started."""
        told = await asyncio.to_thread(introspect, self.node.at(self.layout.socket))
        if told.config_path is not None:
            return told.config_path
        words = self.layout.words
        named = [word for word in words if "toml" in word]
        config = named[0].removeprefix("--config=") if named else "/etc/containerd/config.toml"
        document = tomllib.loads(await self.node.run(self.layout.program, "--config", config, "config", "dump"))
        version = document["version"]
        release = NodeRelease(self.release.version)
        found = ContainerdImagesSettings(images_table(document, NodeRelease.of_format(version), version)).config_path
        return found or release.default_config_paths


@contextlib.asynccontextmanager
async def laid_out(layout: Layout, release: Release, network: Network, folder: Path) -> AsyncIterator[Laid]:
    host = await network.add_host("node")
    async with node_root(folder / "n", host.namespace) as node:
        node.write(layout.files)
        if layout.name == "MicroK8s":
            node.at("/var/snap/microk8s/current").symlink_to("100")
        await node.install_program(release.containerd, layout.program)
        yield Laid(layout, node, release)


@contextlib.asynccontextmanager
async def agent_on(
    node: NodeRoot, changes: Table | None = None, *, words: tuple[str, ...] = (), is_ready: bool = True
) -> AsyncIterator[Agent]:
    """With nothing but the peers' settings: what it serves and whom it asks it finds out itself."""
    program = (*node.command(*AGENT), *words)
    agent = Agent(merged(SETTINGS, changes or {}), node.at("/run/of-the-test"), node.namespace, program=program)
    try:
        await (agent.start() if is_ready else agent.launch())
        yield agent
    finally:
        await agent.stop()


@pytest.mark.parametrize(("layout", "release"), cases(), indirect=["release"])
async def test_there_is_a_pull_and_back(layout: Layout, release: Release, network: Network, folder: Path) -> None:
    async with laid_out(layout, release, network, folder) as laid:
        node = laid.node
        await laid.start()
        before = node.files()
        if not layout.hosts:
            with pytest.raises(CommandError, match=layout.says[0]):
                await node.registryd("install")
            assert node.files() == before
            return

        said = await node.registryd("install", *layout.install)
        print(f"--- {layout} on {laid.release}\n{said}")
        assert ("must be restarted" in said) == bool(layout.edited)
        for each in layout.says:
            assert each in said, each
        if layout.edited:
            assert "config_path" in node.at(layout.edited).read_text()
            await laid.restart()
        assert await laid.looks_in() == layout.hosts
        again = await node.registryd("install", *layout.install)
        assert "Nothing to change" in again
        assert "must be restarted" not in again

        async with agent_on(node) as agent:
            found = await node.doctor()
            for name, (severity, text) in found.items():
                print(f"{severity:8} {name}: {text}")
            assert not [each for each in found.values() if each[0] == "problem"]
            assert {found[name][0] for name in ("config_path", "hosts", "pull", "containerd", "port")} == {"ok"}
            assert "hosts_dir" not in found, "the agent looks elsewhere"
            # doctor's trial is in no sum of requests or bytes; that it was answered here shows all the same
            assert (await agent.metrics()).total("registryd_first_byte_seconds_count") > 0

        await node.registryd("uninstall")
        assert node.files() == before
