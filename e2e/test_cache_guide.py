"""The set-ups of docs/cache.md, as they stand there: what Talos makes of them has real containerds pull."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.authority import make_key_pair
from lab.cache import running_cache
from lab.commands import run
from lab.containerd import running_containerd
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace
from lab.network import new_network
from lab.origin import CREDENTIALS, running_origin
from lab.toml_text import to_toml
from tests.node.talos.generator import Talos

if TYPE_CHECKING:
    from lab.authority import KeyPair
    from lab.containerd import Containerd
    from lab.images import Image
    from lab.origin import Origin
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

PAGE = (Path(__file__).parents[1] / "docs" / "cache.md").read_text()
REGISTRIES = ("docker.io", "registry.k8s.io", "gcr.io", "ghcr.io")


def blocks(heading: str, language: str) -> list[str]:
    """The code of a section of the page."""
    section = PAGE.partition(f"\n### {heading}\n")[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


@dataclass(frozen=True)
class Stage:
    """A registry with paths like Harbor's, a cache over it, and a node."""

    harbor: Origin
    pair: KeyPair
    password: Path
    cache_url: str
    containerd: Containerd
    image: Image

    def here(self, text: str) -> str:
        """The page's text with this network's addresses and files."""
        for there, here in {
            "http://cache.corp:3172": self.cache_url,
            "http://10.5.0.1:3172": self.cache_url,
            **self.of_harbor(),
        }.items():
            text = text.replace(there, here)
        return text

    def of_harbor(self) -> dict[str, str]:
        return harbor_here(self.harbor, self.pair, self.password)

    def write_hosts(self, folders: dict[str, dict[str, Any]]) -> None:
        """These hosts.toml files and no others."""
        root = self.containerd.places.hosts
        shutil.rmtree(root)
        for name, table in folders.items():
            folder = root / name
            folder.mkdir(parents=True)
            (folder / "hosts.toml").write_text(to_toml(table))
            for host in table["host"].values():
                if "ca" in host:
                    shutil.copy(self.pair.certificate, folder / host["ca"])

    async def pull(self, *registries: str) -> None:
        """Pull an image of each, all of it over the network."""
        for registry in registries:
            name = f"{registry}/library/app:v1"
            await self.containerd.images.pull(name, credentials=CREDENTIALS)
            await self.containerd.images.remove(name)
            local = self.image.local
            await self.containerd.wait_blobs_gone(local.blob.digest, *(layer.digest for layer in local.layers))


def harbor_here(harbor: Origin, pair: KeyPair, password: Path) -> dict[str, str]:
    return {
        "https://harbor.corp": f"https://{harbor.address}",
        "harbor.corp:": f"{harbor.address}:",
        "/etc/registryd/harbor-ca.pem": str(pair.certificate),
        "/etc/registryd/harbor-secret": str(password),
        "robot$cache": CREDENTIALS.username,
    }


def cache_tables(here: dict[str, str]) -> dict[str, Table]:
    """The page's table for one project of Harbor's, and the like for the other registries."""
    (text,) = blocks("Harbor behind the cache", "toml")
    for there, replacement in here.items():
        text = text.replace(there, replacement)
    found: dict[str, Table] = {}
    for registry in REGISTRIES:
        found |= tomllib.loads(text.replace("docker.io", registry))["upstreams"]["registries"]
    assert set(found) == set(REGISTRIES)
    return found


async def _stage(stack: AsyncExitStack, release: Release, image: Image) -> Stage:
    folder = await stack.enter_async_context(workspace())
    network = await stack.enter_async_context(new_network())
    upstream, server, node = [await network.add_host(name) for name in ("harbor", "cache", "node")]
    # Its content is put there by way of a door that asks for nothing.
    door = running_origin(folder / "door", address=f"{upstream.ipv4}:5001", namespace=upstream.namespace)
    origin = await stack.enter_async_context(door)
    for registry in REGISTRIES:
        await origin.push(image, f"proxy-{registry}/library/app")
    pair = await make_key_pair(folder, address=upstream.ipv4)
    tls = {"http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}}
    harbor = await stack.enter_async_context(
        running_origin(
            folder / "harbor",
            address=f"{upstream.ipv4}:5003",
            namespace=upstream.namespace,
            is_private=True,
            storage=folder / "door",
            extra=tls,
        )
    )
    password = folder / "password"
    password.write_text(CREDENTIALS.password)
    listen = f"{server.ipv4}:3172"
    changes: Table = {
        "authorization": {"mode": "open"},
        "cache": {"insecure": True},
        "upstreams": {"registries": cache_tables(harbor_here(harbor, pair, password))},
    }
    await stack.enter_async_context(
        running_cache(folder / "c", listen=listen, changes=changes, namespace=server.namespace)
    )
    containerd = await stack.enter_async_context(running_containerd(release, folder / "n", namespace=node.namespace))
    return Stage(harbor, pair, password, f"http://{listen}", containerd, image)


async def test_every_set_up_of_the_page_pulls(release: Release, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", ImageRecipe(layers=(LayerRecipe(50_000),)))
    async with AsyncExitStack() as stack:
        stage = await _stage(stack, release, image)

        (hosts,) = blocks("containerd, any cluster", "toml")
        stage.write_hosts({"_default": tomllib.loads(stage.here(hosts))})
        await stage.pull(*REGISTRIES)
        fetched = [access.reference for access in stage.harbor.requests() if access.is_blob_transfer]
        assert sorted(fetched) == sorted(set(fetched))

        _, create = blocks("Talos in Docker or QEMU", "")
        flags = dict(re.findall(r"--registry-mirror (\S+)=(\S+)", stage.here(create)))
        assert set(flags) == set(REGISTRIES)
        mirrors = {name: {"endpoints": [url]} for name, url in flags.items()}
        stage.write_hosts(Talos().apply(to_yaml({"machine": {"registries": {"mirrors": mirrors}}})).hosts())
        await stage.pull(*REGISTRIES)

        old, new = blocks("Talos machine configuration", "yaml")
        for text in (old, new):
            stage.write_hosts(Talos().apply(stage.here(text)).hosts())
            await stage.pull("docker.io", "gcr.io")

        (words,) = re.findall(r"^registryd (talos) \S+ (.*)$", stage.here(PAGE), flags=re.MULTILINE)
        patch = await run(sys.executable, "-m", "registryd", *" ".join(words).split())
        stage.write_hosts(Talos().apply(patch).hosts())
        await stage.pull("ghcr.io")  # nobody listens where the agent would be: the cache is next

        # Nodes without the cache, whose next endpoint is Harbor itself.
        stage.harbor.forget_requests()
        (config,) = blocks("Harbor behind the agents", "yaml")
        file = tmp_path / "machine.yaml"
        file.write_text(stage.here(config))
        patch = await run(sys.executable, "-m", "registryd", "talos", str(file))
        replaced = Talos().apply(file.read_text())
        replaced.mirrors.clear()  # as the patch says to do first
        stage.write_hosts(replaced.apply(patch).hosts())
        await stage.pull("docker.io", "ghcr.io")
        asked = {access.repository for access in stage.harbor.requests() if access.is_read}
        assert asked == {"proxy-docker.io/library/app", "proxy-ghcr.io/library/app"}


def to_yaml(document: object) -> str:
    """JSON is YAML."""
    return json.dumps(document)
