"""The upstreams of an agent: asked where containerd would ask, opened when they are, closed at the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.agent.anyone import open_upstreams
from registryd.agent.hosts_folders import HostsFolders
from registryd.config.agent import AuthorizationSettings, Settings
from registryd.failures import CommandFailed
from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.errors import UpstreamDenied
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = Registry("registry.example")


def settings_for(folder: Path, url: str) -> Settings:
    (folder / REGISTRY.host).mkdir()
    (folder / REGISTRY.host / "hosts.toml").write_text(f'server = "{url}"\n')
    return replace(Settings(), authorization=AuthorizationSettings(hosts_dir=folder))


async def test_many_may_ask_first(tmp_path: Path) -> None:
    async with open_upstream(FakeUpstream(challenge="bearer")) as upstream:
        upstream.add("demo/app", oci_image())
        upstream.add("demo/private", oci_image(), public=False)
        settings = settings_for(tmp_path, upstream.url)
        async with open_upstreams(settings, HostsFolders(settings)) as upstreams:
            app = Repository(REGISTRY, "demo/app")
            await asyncio.gather(upstreams.ping(REGISTRY), *(upstreams.head(app, Tag("v1")) for _ in range(3)))
            with pytest.raises(UpstreamDenied):
                await upstreams.head(Repository(REGISTRY, "demo/private"), Tag("v1"))


async def test_a_proxy_that_is_none_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy")
    with pytest.raises(CommandFailed, match="the proxy in the environment cannot be used"):
        async with open_upstreams(Settings(), HostsFolders(Settings())):
            pass
