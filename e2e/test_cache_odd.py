"""Upstreams as they are: what containerd pulls from each of them itself, it pulls through a cache as well."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.cache import running_cache
from lab.clients import obtain_client
from lab.containerd import running_containerd
from lab.containerd_config import Mirror
from lab.errors import CommandError, PullError
from lab.fetch import fetch
from lab.images import MIB, ImageRecipe, add_manifest, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.layout import INDEX
from lab.odd_answers import ROWS
from lab.process import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from lab.agent import Agent
    from lab.containerd import Containerd
    from lab.namespaces import Namespace
    from lab.network import Host, Network
    from lab.odd_answers import Row
    from lab.toml_text import Table, Value
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

# The same registry twice, because some of its ways depend on what it was asked before.
UPSTREAM, YARDSTICK = 5000, 5001
NOWHERE = "http://127.0.0.1:9"
# More than the cache takes in one step, and less.
LAYERS = (LayerRecipe(300_000), LayerRecipe(2_000))
AT_ONCE = 4
LARGE = "as-it-should/large"


@dataclass(frozen=True)
class Field:
    """A host with the odd registries; caches and containerds are added to it."""

    folder: Path
    host: Host
    digests: Mapping[str, str]  # of each row's second image, which is pulled by digest
    large: str  # the digest of a manifest of 5 MiB

    def url(self, port: int) -> str:
        return f"http://{self.host.ipv4}:{port}"

    @property
    def namespace(self) -> Namespace:
        return self.host.namespace

    def log(self) -> list[str]:
        """What the caches' upstream was asked: `METHOD /target status user`."""
        return _log(self.folder, UPSTREAM).read_text().splitlines()

    def names(self, row: str, registry: str) -> tuple[str, str]:
        return f"{registry}/{row}/by-tag:v1", f"{registry}/{row}/by-digest@{self.digests[row]}"

    @asynccontextmanager
    async def cache(self, name: str, number: int, **upstream: object) -> AsyncIterator[Agent]:
        """A cache of the odd registry, called `name`."""
        table: Table = {
            "url": self.url(UPSTREAM),
            "leads_to": [f"http://127.0.0.1:{UPSTREAM}"],
            **upstream,  # type: ignore[dict-item]
        }
        changes: dict[str, Value] = {
            "upstreams": {"registries": {name: table}},
            "admin": {"listen": f"127.0.0.1:{3175 + 10 * number}"},
        }
        listen = f"127.0.0.1:{3172 + 10 * number}"
        folder = self.folder / f"cache{number}"
        async with running_cache(folder, listen=listen, changes=changes, namespace=self.namespace) as cache:
            yield cache

    @asynccontextmanager
    async def containerd(self, release: Release, number: int, *, mirror: str) -> AsyncIterator[Containerd]:
        opening = running_containerd(release, self.folder / f"n{number}", namespace=self.namespace)
        async with opening as containerd:
            containerd.write_hosts("_default", Mirror(mirror), server=NOWHERE)
            yield containerd

    async def pulled(self, containerd: Containerd, registry: str, rows: Collection[Row]) -> dict[str, str]:
        """What went wrong, by row; by tag and by digest."""
        slots = asyncio.Semaphore(AT_ONCE)
        problems: dict[str, str] = {}

        async def pull(row: str) -> None:
            async with slots:
                for name in self.names(row, registry):
                    try:
                        await containerd.images.pull(name)
                    except PullError as error:
                        problems.setdefault(row, str(error))

        await asyncio.gather(*(pull(row.name) for row in rows))
        return problems


@pytest.fixture
async def field(network: Network, folder: Path) -> AsyncIterator[Field]:
    host = await network.add_host("field")
    content = folder / "content"
    digests = await asyncio.to_thread(_make_images, content)
    made = Field(folder, host, digests, await asyncio.to_thread(_make_large, content))
    async with _odd_registry(made, content, UPSTREAM), _odd_registry(made, content, YARDSTICK):
        yield made


@asynccontextmanager
async def _odd_registry(field: Field, content: Path, port: int) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "lab.odd_registry", f"{field.host.ipv4}:{port}", str(content)]
    async with running(command, log=_log(field.folder, port), namespace=field.namespace) as process:

        async def is_ready() -> bool:
            try:
                return (await fetch(f"{field.url(port)}/v2/", namespace=field.namespace)).status == 200
            except OSError:
                return False

        await process.wait_ready(is_ready)
        yield


def _log(folder: Path, port: int) -> Path:
    return folder / f"odd{port}.log"


def _make_images(folder: Path) -> dict[str, str]:
    """Two images for each row, so that no pull finds what another one brought."""
    digests = {}
    for row in ROWS:
        for name in ("by-tag", "by-digest"):
            place = folder / row.name / name
            image = make_image(place, ImageRecipe(layers=LAYERS, seed=f"odd-{row.name}-{name}"))
            digests[row.name] = image.root.digest
    return digests


def _make_large(folder: Path) -> str:
    """An index that leads to a manifest which is mostly an annotation."""
    recipe = ImageRecipe(layers=LAYERS, architectures=(local_architecture(),), seed="odd-large")
    image = make_image(folder / LARGE, recipe)
    annotations = {"lab.registryd.padding": "x" * (5 * MIB)}
    local = image.local
    blob = add_manifest(image.layout, local.config, local.layers, annotations=annotations)
    entry = blob.descriptor(platform={"architecture": local_architecture(), "os": "linux"})
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    image.layout.tag(image.layout.add_document(INDEX, index), image.tag)
    return blob.digest


async def test_containerd_pulls_through_the_cache_from_every_kind_of_upstream(field: Field, release: Release) -> None:
    """With the registry itself as the yardstick: where that is pulled, the cache is; and where it is not, as well."""
    async with (
        field.cache("odd.lab", 0) as cache,
        field.containerd(release, 0, mirror=field.url(YARDSTICK)) as straight,
        field.containerd(release, 1, mirror="http://127.0.0.1:3172") as behind,
    ):
        through = await field.pulled(behind, "odd.lab", ROWS)
        itself = await field.pulled(straight, "odd.lab", ROWS)
        for row in sorted(itself):
            print(f"{release}: fails without a cache: {row}: {itself[row][-160:]}")
        assert not through, cache.process.log_tail()
        if release.version >= (2, 3):
            assert set(itself) == {row.name for row in ROWS if not row.direct}


async def test_a_manifest_of_more_than_registries_must_take(field: Field, release: Release) -> None:
    """5 MiB, where an index leads to it: containerd resolves no name to more than 4 MiB, but is led to more."""
    async with (
        field.cache("odd.lab", 0) as cache,
        field.containerd(release, 0, mirror=field.url(YARDSTICK)) as straight,
        field.containerd(release, 1, mirror="http://127.0.0.1:3172") as behind,
    ):
        for containerd in (straight, behind):
            await containerd.images.pull(f"odd.lab/{LARGE}:v1")
        assert straight.has_blob(field.large)
        assert behind.has_blob(field.large), cache.process.log_tail()


async def test_skopeo_copies_from_every_kind_of_upstream_through_the_cache(field: Field) -> None:
    """It asks for manifests by tag with a GET, and for no HEAD first."""
    skopeo = await obtain_client("skopeo", field.namespace)
    async with field.cache("odd.lab", 0) as cache:
        for row in ROWS:
            for number, name in enumerate(field.names(row.name, "127.0.0.1:3172/odd.lab")):
                registry, _, image = name.partition("/")
                try:
                    await skopeo.pull(registry, image, field.folder / "copies" / f"{row.name}{number}")
                except CommandError as error:
                    pytest.fail(f"{row.name}: {error}\n{cache.process.log_tail()}")


async def test_what_is_public_is_learnt_from_every_kind_of_upstream(field: Field, newest: Release) -> None:
    """The cache has a login, its clients have none: the registry is asked without it, and shown it by nobody else."""
    password = field.folder / "password"
    password.write_text("lab-password")
    login = {"username": "cache", "password_file": str(password)}
    async with (
        field.cache("odd.lab", 0, **login) as cache,
        field.containerd(newest, 0, mirror="http://127.0.0.1:3172") as containerd,
    ):
        assert not await field.pulled(containerd, "odd.lab", ROWS), cache.process.log_tail()
    users = {(line.split()[1].split("/")[1], line.split()[-1]) for line in field.log()}
    assert ("token", "cache") in users
    assert ("elsewhere", "cache") not in users
