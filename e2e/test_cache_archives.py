"""Archives that other tools write are imported, and a cache serves what is in them."""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from lab.cache import running_cache
from lab.commands import require, run
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.programs import obtain_programs
from lab.push import Repository
from lab.registries import running_registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.network import Network
    from lab.toml_text import Table

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REGISTRY, CACHE = "127.0.0.1:5000", "127.0.0.1:3172"
SOURCE = f"{REGISTRY}/demo/app:v1"
REGISTRYD = (sys.executable, "-m", "registryd")


async def writers(archive: Path, layout: Path) -> dict[str, Sequence[str]]:
    """Commands that write `archive`, or a layout that becomes it, of the registry's image."""
    crane = str(await obtain_programs("ggcr") / "crane")
    oras = str(await obtain_programs("oras") / "oras")
    regctl = str(await obtain_programs("regctl") / "regctl")
    skopeo = require("skopeo", package="skopeo")
    off = ("--src-tls-verify=false",)
    return {
        "crane": (crane, "pull", "--insecure", "--format", "oci", SOURCE, str(layout)),
        "oras": (oras, "backup", "--plain-http", "--include-referrers", "--output", str(archive), SOURCE),
        "oras-layout": (oras, "copy", "--from-plain-http", "--to-oci-layout", SOURCE, f"{layout}:v1"),
        "regctl": (regctl, "--host", f"reg={REGISTRY},tls=disabled", "image", "export", SOURCE, str(archive)),
        "skopeo": (skopeo, "copy", "--all", *off, f"docker://{SOURCE}", f"oci-archive:{archive}:v1"),
    }


def pack(layout: Path, archive: Path) -> None:
    with tarfile.open(archive, "w") as tar:
        for path in sorted(layout.iterdir()):
            tar.add(path, arcname=path.name)


@pytest.mark.parametrize("tool", ["crane", "oras", "oras-layout", "regctl", "skopeo"])
async def test_what_a_tool_writes_is_imported_and_served(tool: str, network: Network, folder: Path) -> None:
    namespace = (await network.add_host("all")).namespace
    image = make_image(folder / "image", ImageRecipe((LayerRecipe(200_000), LayerRecipe(2_000))))
    archive, layout, store = folder / "it.tar", folder / "layout", folder / "c" / "store"
    async with running_registry("olareg", folder / "o", port=5000, namespace=namespace):
        await Repository(f"http://{REGISTRY}/v2/demo/app", namespace).push(image)
        command = (await writers(archive, layout))[tool]
        await run(*namespace.command(*command), environment={"HOME": str(folder)})
    if not await asyncio.to_thread(archive.exists):
        await asyncio.to_thread(pack, layout, archive)
    (folder / "list.txt").write_text("origin.lab/demo/app:v1\n")
    changes: Table = {"upstreams": {"registries": {"origin.lab": {"url": f"http://{REGISTRY}"}}}}
    async with AsyncExitStack() as stack:
        named = ("import", str(archive), "--name", "origin.lab/demo/app:v1")
        where = ("--store.kind", "directory", "--store.directory", str(store))
        print(await run(*namespace.command(*REGISTRYD, *named, *where)))
        await stack.enter_async_context(running_cache(folder / "c", listen=CACHE, changes=changes, namespace=namespace))
        asked = ("--images", str(folder / "list.txt"), "--platform", "all", "--from", f"http://{CACHE}", "--json")
        checked = json.loads(await run(*namespace.command(*REGISTRYD, "verify", *asked)))
        assert checked["complete"]
