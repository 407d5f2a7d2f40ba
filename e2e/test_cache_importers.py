"""What is exported of images with signatures, and of images of which it is known that they have none, others import."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import cosign_signature, in_toto_statement, make_artifact
from lab.cache import running_cache
from lab.commands import require, run
from lab.containerd import running_containerd
from lab.fetch import Request, fetch
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.layout import INDEX
from lab.push import Repository
from lab.registries import running_registry

if TYPE_CHECKING:
    from pathlib import Path

    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.network import Network
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REGISTRY, CACHE = "127.0.0.1:5000", "127.0.0.1:3172"
REGISTRYD = (sys.executable, "-m", "registryd")
SIGNED, BARE = "origin.lab/team/signed:v1", "origin.lab/team/bare:v1"
LAYERS = (LayerRecipe(200_000), LayerRecipe(2_000))


async def registryd(at: Namespace, *arguments: str) -> str:
    return await run(*at.command(*REGISTRYD, *arguments))


def store(folder: Path) -> list[str]:
    return ["--store.kind", "directory", "--store.directory", str(folder / "store")]


async def referrers(at: Namespace, name: str, image: Image) -> set[str]:
    repository = name.removeprefix("origin.lab/").removesuffix(":v1")
    url = f"http://{CACHE}/v2/{repository}/referrers/{image.root.digest}?ns=origin.lab"
    answer = await fetch(Request(url, headers=(("Accept", INDEX),)), namespace=at)
    assert answer.status == 200, answer
    return {entry["digest"] for entry in json.loads(answer.body)["manifests"]}


async def exported(at: Namespace, folder: Path) -> dict[str, Image]:
    """`plain.tar`, `whole.tar` and `one.tar`, of a cache that was asked what is attached to its images."""
    images = {name: make_image(folder / name[-9:-3], ImageRecipe(LAYERS, seed=name)) for name in (SIGNED, BARE)}
    signed = images[SIGNED]
    statement = make_artifact(folder / "statement", in_toto_statement(signed.root))
    signature = make_artifact(folder / "signature", cosign_signature(signed.root))
    (folder / "list.txt").write_text(f"{SIGNED}\n{BARE}\n")
    changes: Table = {"upstreams": {"registries": {"origin.lab": {"url": f"http://{REGISTRY}"}}}}
    async with (
        running_registry("olareg", folder / "o", port=5000, namespace=at),
        running_cache(folder / "c1", listen=CACHE, changes=changes, namespace=at),
    ):
        for repository, image in (
            ("signed", signed),
            ("bare", images[BARE]),
            ("signed", statement),
            ("signed", signature),
        ):
            await Repository(f"http://{REGISTRY}/v2/team/{repository}", at).push(image)
        filling = ("--images", str(folder / "list.txt"), "--referrers", "--into", f"http://{CACHE}")
        print(await registryd(at, "prefetch", *filling))
    print(await registryd(at, "export", str(folder / "plain.tar"), "--partly", *store(folder / "c1")))
    print(await registryd(at, "export", str(folder / "whole.tar"), "--partly", "--referrers", *store(folder / "c1")))
    one = ("export", str(folder / "one.tar"), SIGNED, "--partly", "--referrers")
    print(await registryd(at, *one, *store(folder / "c1")))
    return images


async def test_every_importer_takes_what_is_exported_of_images_with_signatures(
    representatives: tuple[Release, ...], network: Network, folder: Path
) -> None:
    """With the signatures and without: `ctr` of 1.6, and of any with `--local`, stops at what it takes for an image."""
    at = (await network.add_host("all")).namespace
    images = await exported(at, folder)
    for archive in ("plain", "whole"):
        for release in representatives:
            for options in ((), ("--local",), ("--digests",)):
                if "--local" in options and release.version < (2, 0, 0):
                    continue  # which has no other way
                place = folder / f"{archive}-{release}{''.join(options)}"
                async with running_containerd(release, place, namespace=at) as containerd:
                    await containerd.ctr("images", "import", *options, str(folder / f"{archive}.tar"))
                    names = (await containerd.ctr("images", "ls", "-q")).split()
                    assert {name for name in names if name.startswith("origin.lab/")} == {SIGNED, BARE}
                    for image in images.values():
                        assert containerd.has_blob(image.local.layers[0].digest)
    # Which wants to be told which one when there are several.
    skopeo = require("skopeo", package="skopeo")
    raw = await run(skopeo, "inspect", "--raw", f"oci-archive:{folder}/one.tar")
    signed = images[SIGNED]
    assert json.loads(raw) == signed.layout.read_document(signed.root.digest)
    await run(skopeo, "copy", f"oci-archive:{folder}/one.tar", f"docker-archive:{folder}/docker.tar:app:v1")


async def test_what_is_attached_and_that_nothing_is_come_back(network: Network, folder: Path) -> None:
    at = (await network.add_host("all")).namespace
    images = await exported(at, folder)
    statement = make_artifact(folder / "again", in_toto_statement(images[SIGNED].root))
    print(await registryd(at, "import", str(folder / "whole.tar"), *store(folder / "c2")))
    changes: Table = {"upstreams": {"registries": {"origin.lab": {"url": "http://127.0.0.1:9"}}}}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_cache(folder / "c2", listen=CACHE, changes=changes, namespace=at))
        assert await referrers(at, SIGNED, images[SIGNED]) == {statement.root.digest}
        assert await referrers(at, BARE, images[BARE]) == set()
