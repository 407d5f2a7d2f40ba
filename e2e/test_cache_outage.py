"""What clients are told of signatures and tags while the registry is away is what they were told before."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import cosign_signature, make_artifact
from lab.cache import running_cache
from lab.commands import run
from lab.errors import CommandError
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.programs import obtain_programs
from lab.push import Repository
from lab.registries import running_registry

if TYPE_CHECKING:
    from pathlib import Path

    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.network import Network
    from lab.toml_text import Table

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REGISTRY, CACHE = "127.0.0.1:5000", "127.0.0.1:3172"
SUFFIXES = (".sig", ".att", ".sbom")


async def told(at: Namespace, name: str, image: Image) -> dict[str, object]:
    """By `crane ls`, `oras discover`, and `crane digest` of cosign's tags: a digest, or the error's code."""
    crane = str(await obtain_programs("ggcr") / "crane")
    oras = str(await obtain_programs("oras") / "oras")
    repository = f"{CACHE}/origin.lab/{name}"
    tags = await run(*at.command(crane, "ls", "--insecure", repository))
    discover = (oras, "discover", "--plain-http", "--format", "json", f"{repository}@{image.root.digest}")
    tree = json.loads(await run(*at.command(*discover)))
    signatures = {}
    for suffix in SUFFIXES:
        tag = image.root.digest.replace(":", "-") + suffix
        try:
            signatures[suffix] = (await run(*at.command(crane, "digest", "--insecure", f"{repository}:{tag}"))).strip()
        except CommandError as error:
            signatures[suffix] = "absent" if "404" in str(error) or "MANIFEST_UNKNOWN" in str(error) else str(error)
    attached = sorted(entry["digest"] for entry in tree.get("referrers") or [])
    return {"tags": sorted(tags.split()), "attached": attached, **signatures}


@pytest.mark.parametrize("kind", ["distribution", "olareg"])
async def test_an_outage_changes_nothing_of_what_is_said(kind: str, network: Network, folder: Path) -> None:
    """distribution 3 has no referrers API, so there the list is a tag, which is among the tags."""
    at = (await network.add_host("all")).namespace
    images = {
        name: make_image(folder / name, ImageRecipe((LayerRecipe(2_000),), seed=name)) for name in ("signed", "bare")
    }
    signed = images["signed"]
    oras = str(await obtain_programs("oras") / "oras")
    (folder / "sbom.json").write_text("{}")
    (folder / "list.txt").write_text("".join(f"origin.lab/{name}:v1\n" for name in images))
    changes: Table = {"upstreams": {"registries": {"origin.lab": {"url": f"http://{REGISTRY}"}}}}
    async with AsyncExitStack() as stack:
        connected = await stack.enter_async_context(AsyncExitStack())
        await connected.enter_async_context(running_registry(kind, folder / "o", port=5000, namespace=at))
        for name, image in images.items():
            await Repository(f"http://{REGISTRY}/v2/{name}", at).push(image)
        attach = (
            oras,
            "attach",
            "--plain-http",
            "--disable-path-validation",
            "--artifact-type",
            "application/vnd.lab.sbom",
        )
        await run(*at.command(*attach, f"{REGISTRY}/signed:v1", f"{folder}/sbom.json:application/json"))
        signature = make_artifact(folder / "signature", cosign_signature(signed.root))
        await Repository(f"http://{REGISTRY}/v2/signed", at).push(signature)
        await stack.enter_async_context(running_cache(folder / "c", listen=CACHE, changes=changes, namespace=at))
        filling = ("prefetch", "--images", str(folder / "list.txt"), "--referrers", "--into", f"http://{CACHE}")
        print(await run(*at.command(sys.executable, "-m", "registryd", *filling)))
        before = {name: await told(at, name, image) for name, image in images.items()}
        assert before["signed"][".sig"] == signature.root.digest
        assert len(before["signed"]["attached"]) == 1  # type: ignore[arg-type]
        assert [before["bare"][suffix] for suffix in SUFFIXES] == ["absent"] * len(SUFFIXES)
        await connected.aclose()
        assert {name: await told(at, name, image) for name, image in images.items()} == before
