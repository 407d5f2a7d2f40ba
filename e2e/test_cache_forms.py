"""The air gap with a list that has every form of name, and with what real tools attach to images."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import cosign_signature, make_artifact
from lab.cache import running_cache
from lab.commands import run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.errors import CommandError
from lab.fetch import Request, fetch
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.layout import MANIFEST
from lab.leftovers import workspace
from lab.network import new_network
from lab.programs import obtain_programs
from lab.push import Repository
from lab.registries import running_registry

if TYPE_CHECKING:
    from pathlib import Path

    from lab.images import Image
    from lab.namespaces import Namespace
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.programs]

REGISTRY = "127.0.0.1:5000"
CACHE = "127.0.0.1:3172"
REGISTRYD = (sys.executable, "-m", "registryd")
NOWHERE = "http://127.0.0.1:9"
LAYERS = (LayerRecipe(200_000), LayerRecipe(2_000))


@dataclass(frozen=True)
class Form:
    """A way to name an image: `{digest}` is filled in. `repository` and `tag` are where it is pushed."""

    name: str
    repository: str
    tag: str = "v1"
    architectures: tuple[str, ...] = ("amd64", "arm64")

    def recipe(self) -> ImageRecipe:
        return ImageRecipe(LAYERS, self.architectures, tag=self.tag, seed=self.name)


FORMS = (
    Form("origin.lab/app:v1", "app"),
    Form("origin.lab/team/tool@{digest}", "team/tool"),
    Form("origin.lab/team/web:v1@{digest}", "team/web"),
    Form("origin.lab/team/single@{digest}", "team/single", architectures=("amd64",)),
    Form("origin.lab/team/both:v1", "team/both"),
    Form("box", "library/box", tag="latest"),
    Form("user/thing:v2", "user/thing", tag="v2"),
    Form("docker.io/library/hub@{digest}", "library/hub"),
    Form("registry.lab:8443/deep/path/app:1.0_x-y", "deep/path/app", tag="1.0_x-y"),
)
ABSENT = "origin.lab/nowhere:v1"


async def registryd(at: Namespace, *arguments: str) -> str:
    return await run(*at.command(*REGISTRYD, *arguments))


def store(folder: Path) -> list[str]:
    return ["--store.kind", "directory", "--store.directory", str(folder / "store")]


def upstreams() -> Table:
    names = ("origin.lab", "docker.io", "registry.lab:8443")
    return {"registries": {name: {"url": f"http://{REGISTRY}"} for name in names}}


def write_lists(folder: Path, names: list[str]) -> list[str]:
    """As Windows writes them, as `kubectl get pods -o json` does, and as an editor that begins with a mark."""
    windows, pods, marked = folder / "windows.txt", folder / "pods.json", folder / "marked.txt"
    windows.write_bytes("".join(f"{name}\r\n" for name in names[:3]).encode("utf-16"))
    containers = [{"name": str(number), "image": name} for number, name in enumerate(names[3:6])]
    pods.write_text(json.dumps({"kind": "List", "items": [{"kind": "Pod", "spec": {"containers": containers}}]}))
    marked.write_text("".join(f"{name}\n" for name in names[6:]), encoding="utf-8-sig")
    return [argument for path in (windows, pods, marked) for argument in ("--images", str(path))]


async def attach(at: Namespace, folder: Path, image: Image) -> None:
    """To `app`: by oras, by regctl, to one of its platforms, to what is attached; and a signature of cosign's form."""
    oras = str(await obtain_programs("oras") / "oras")
    regctl = str(await obtain_programs("regctl") / "regctl")
    (folder / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')

    async def by_oras(kind: str, subject: str) -> str:
        command = (oras, "attach", "--plain-http", "--disable-path-validation", "--artifact-type", kind)
        options = ("--format", "go-template", "--template", "{{.digest}}")
        file = f"{folder}/sbom.json:application/json"
        return await run(*at.command(*command, *options, f"{REGISTRY}/app@{subject}", file))

    bill = await by_oras("application/vnd.lab.sbom", image.root.digest)
    await by_oras("application/vnd.lab.platform", image.local.blob.digest)
    await by_oras("application/vnd.lab.of-the-bill", bill.strip())
    put = ("artifact", "put", "--artifact-type", "application/vnd.lab.scan", "--subject", f"{REGISTRY}/app:v1")
    host = ("--host", f"reg={REGISTRY},tls=disabled")
    await run(*at.command(regctl, *host, *put, "--file", str(folder / "sbom.json")), environment={"HOME": str(folder)})
    signature = make_artifact(folder / "signature", cosign_signature(image.root))
    await Repository(f"http://{REGISTRY}/v2/app", at).push(signature)


async def attached(at: Namespace, registry: str, image: Image) -> tuple[dict[str, list[str]], int]:
    """What `oras discover` finds, at any depth, by subject; and the status of cosign's tag."""
    oras = str(await obtain_programs("oras") / "oras")
    found = {}
    for subject in (image.root, image.local.blob):
        command = (oras, "discover", "--plain-http", "--format", "json", f"{registry}/app@{subject.digest}")
        said = await run(*at.command(*command))
        found[subject.digest] = sorted(_digests_in(json.loads(said)))
    host, _, path = registry.partition("/")
    tag = image.root.digest.replace(":", "-") + ".sig"
    url = "/".join(filter(None, (f"http://{host}/v2", path, "app/manifests", tag)))
    signature = await fetch(Request(url, headers=(("Accept", MANIFEST),)), namespace=at)
    return found, signature.status


def _digests_in(tree: dict[str, object]) -> list[str]:
    children = tree.get("referrers") or []
    assert isinstance(children, list)
    return [digest for child in children for digest in (child["digest"], *_digests_in(child))]


@pytest.mark.parametrize("kind", ["distribution", "olareg"])
async def test_every_form_of_name_and_all_that_is_attached_cross_the_gap(
    kind: str, representatives: tuple[Release, ...]
) -> None:
    """distribution 3 has no referrers API, so the tools use tags there; olareg has it."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        images = {form: make_image(folder / "images" / str(at), form.recipe()) for at, form in enumerate(FORMS)}
        names = [form.name.format(digest=image.root.digest) for form, image in images.items()]
        lists = write_lists(folder, names)
        stick = folder / "stick.tar"
        app = images[FORMS[0]]

        outside = (await (await stack.enter_async_context(new_network())).add_host("outside")).namespace
        async with AsyncExitStack() as connected:
            await connected.enter_async_context(running_registry(kind, folder / "o", port=5000, namespace=outside))
            for form, image in images.items():
                await Repository(f"http://{REGISTRY}/v2/{form.repository}", outside).push(image)
            await attach(outside, folder, app)
            expected = await attached(outside, REGISTRY, app)
            changes: Table = {"upstreams": upstreams()}
            cache = running_cache(folder / "c1", listen=CACHE, changes=changes, namespace=outside)
            await connected.enter_async_context(cache)
            print(await registryd(outside, "prefetch", *lists, "--referrers", "--into", f"http://{CACHE}"))
            print(
                await registryd(outside, "export", str(stick), *lists, "--partly", "--referrers", *store(folder / "c1"))
            )
            lacking = folder / "lacking.tar"
            (folder / "absent.txt").write_text(f"{ABSENT}\n")
            absent = ("--images", str(folder / "absent.txt"))
            with pytest.raises(CommandError, match=rf"exit 1: (?s:.*){ABSENT}"):
                await registryd(outside, "export", str(lacking), "--partly", *lists, *absent, *store(folder / "c1"))

        inside = (await (await stack.enter_async_context(new_network())).add_host("inside")).namespace
        changes = {"upstreams": upstreams(), "cache": {"pinned": ["*"]}}
        cache = running_cache(folder / "c2", listen=CACHE, changes=changes, namespace=inside)
        await stack.enter_async_context(cache)
        print(await registryd(inside, "import", str(stick), *store(folder / "c2")))
        verify = ("verify", *lists, "--referrers", "--from", f"http://{CACHE}", "--json")
        checked = json.loads(await registryd(inside, *verify))
        assert checked["complete"]
        assert len(checked["images"]) == len(FORMS)
        found = await attached(inside, f"{CACHE}/origin.lab", app)
        assert found == expected
        assert len(found[0][app.root.digest]) == 3
        assert len(found[0][app.local.blob.digest]) == 1
        assert found[1] == 200

        for number, release in enumerate(representatives):
            opening = running_containerd(release, folder / f"n{number}", namespace=inside)
            async with opening as containerd:
                containerd.write_hosts("_default", Mirror(f"http://{CACHE}"), server=NOWHERE)
                for name, image in zip(names, images.values(), strict=True):
                    await containerd.images.pull(name)
                    assert containerd.has_blob(image.local.layers[0].digest), name
