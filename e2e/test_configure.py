"""The single flag: an agent that is started with it is asked first from then on, and uninstall takes it back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from lab.agent import AGENT, Agent, agent_settings
from lab.commands import run
from lab.containerd import running_containerd

if TYPE_CHECKING:
    from pathlib import Path

    from lab.images import Image
    from lab.network import Network
    from lab.origin import Origin
    from lab.versions import Release

pytestmark = [pytest.mark.every_series, pytest.mark.timeout(300)]


def with_etc(etc: Path, state: Path, *command: str) -> tuple[str, ...]:
    """A command that sees this folder as /etc/containerd and keeps its records in that one."""
    script = 'mount --bind "$1" /etc/containerd && mount --bind "$2" /var/lib && shift 2 && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(etc), str(state), *command)


async def test_the_flag_puts_the_agent_first_and_uninstall_takes_it_back(
    release: Release, network: Network, origin: Origin, folder: Path, image: Image
) -> None:
    host = await network.add_host("node")
    await origin.push(image, "demo/app")
    etc, state = folder / "etc", folder / "state"
    etc.mkdir()
    state.mkdir()
    async with running_containerd(release, folder / "n", namespace=host.namespace) as containerd:
        (etc / "config.toml").write_bytes(containerd.places.config.read_bytes())
        hosts = containerd.write_hosts("origin.lab", server=origin.url)
        before = hosts.read_bytes()
        settings = agent_settings(containerd, host=host.ipv4, peers=[], changes={})
        program = with_etc(etc, state, *AGENT, "--configure-containerd")
        agent = Agent(settings, folder / "agent", host.namespace, program=program)
        try:
            await agent.start()
            await containerd.images.pull("origin.lab/demo/app:v1")
            asked = (await agent.metrics()).total("registryd_requests_total")
            print(f"{release}: the agent was asked {asked:.0f} times")
            assert asked >= len(image.local.layers)
        finally:
            await agent.stop()
        assert hosts.read_bytes() != before
        await run(*with_etc(etc, state, sys.executable, "-m", "registryd", "uninstall"))
        assert hosts.read_bytes() == before
