"""Layers that containerd throws away are kept, within the limits and no longer than their image."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from registryd.config.agent import StoreSettings
from registryd.content.source import ContentNotFound
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import parse_manifest
from registryd.oci.ranges import Span
from registryd.store.containerd.connect import connect_containerd_store
from registryd.store.containerd.files import BlobFiles
from registryd.store.containerd.layers import UnkeptLayers
from tests.fakes.containerd_faults import Fault
from tests.fakes.entitled import sought
from tests.fakes.images import docker_image, oci_image, oci_index
from tests.store.containerd.conftest import PATIENT, PROMPT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.store.containerd.connection import ContainerdConnection
    from registryd.store.containerd.route import Route
    from registryd.store.containerd.store import ContainerdStore
    from registryd.store.containerd.timing import Timing
    from tests.fakes.containerd import FakeContainerd
    from tests.fakes.images import SampleImage


@pytest.fixture
def discarding(containerd: FakeContainerd) -> Callable[[SampleImage], None]:
    """Labels an image's manifests as a pull does that is going to discard its layers: config only."""

    def label(image: SampleImage) -> None:
        for digest in image.blobs:
            if manifest := parse_manifest_or_none(image.blobs[digest]):
                config = manifest.children[0]
                containerd.labels[str(digest)] = {"containerd.io/gc.ref.content.config": str(config.digest)}

    return label


@asynccontextmanager
async def store_of(
    containerd: FakeContainerd, *, keep: int = 1000, timing: Timing = PATIENT
) -> AsyncIterator[ContainerdStore]:
    settings = StoreSettings(containerd_socket=containerd.socket, containerd_root=containerd.root, keep_layers=keep)
    async with connect_containerd_store(settings, timing=timing) as store:
        await store.wait_ready()
        yield store


def layers_of(image: SampleImage) -> set[str]:
    manifest = next(m for m in map(parse_manifest_or_none, image.blobs.values()) if m and "index" not in m.media_type)
    return {str(child.digest) for child in manifest.children[1:]}


def parse_manifest_or_none(data: bytes) -> Manifest | None:
    with suppress(ManifestInvalid):
        return parse_manifest(data)
    return None


def kept(containerd: FakeContainerd) -> set[str]:
    return set().union(*containerd.leases.values())


async def ask(store: ContainerdStore, digest: Digest) -> None:
    """As containerd does at the door."""
    try:
        await (await store.open(digest, Span.whole)).body.aclose()
    except ContentNotFound:
        store.asked(sought(digest))


async def pull(containerd: FakeContainerd, store: ContainerdStore, image: SampleImage) -> None:
    """As containerd does through us: the manifest, then the layers, and a name in the end."""
    for digest, data in image.blobs.items():
        await ask(store, digest)
        containerd.put_blob(data)
    containerd.put_image(str(image.name), image.target)


@pytest.mark.parametrize("image", [oci_image(), oci_index()], ids=["manifest", "index"])
async def test_layers_are_leased_before_they_have_come(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None], image: SampleImage
) -> None:
    discarding(image)
    async with store_of(containerd) as store:
        await ask(store, image.target.digest)
        for digest, data in image.blobs.items():
            if image.media_types[digest].endswith("json") and "config" not in image.media_types[digest]:
                containerd.put_blob(data)
                await ask(store, digest)
        for digest in image.blobs:
            await ask(store, digest)
        await eventually(lambda: kept(containerd) == layers_of(image))


async def test_what_containerd_keeps_itself_is_not_leased(containerd: FakeContainerd) -> None:
    image = oci_image()
    children = parse_manifest(image.manifest).children
    containerd.labels[str(image.target.digest)] = {
        f"containerd.io/gc.ref.content.l.{number}": str(child.digest) for number, child in enumerate(children)
    }
    async with store_of(containerd) as store:
        await pull(containerd, store, image)
        await eventually(lambda: containerd.lease_calls["List"] > 0)
        assert not containerd.leases


async def test_an_image_that_came_by_other_ways_is_leased_by_its_event(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image()
    discarding(image)
    async with store_of(containerd):
        containerd.put(image)
        await eventually(lambda: kept(containerd) == layers_of(image))


async def test_layers_are_leased_however_busy_containerd_is(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image()
    discarding(image)
    containerd.fault = Fault.LATE
    async with store_of(containerd, timing=PROMPT):
        containerd.put(image)
        await eventually(lambda: kept(containerd) == layers_of(image))


async def test_layers_go_with_the_last_of_their_images(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image()
    discarding(image)
    async with store_of(containerd):
        containerd.put(image)
        await eventually(lambda: kept(containerd) == layers_of(image))
        containerd.drop_image(str(image.name))
        assert kept(containerd) == layers_of(image)
        containerd.drop_image(f"{image.name.repository}@{image.target.digest}")
        await eventually(lambda: kept(containerd) == set())


async def test_the_next_agent_goes_on_with_what_was_kept(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image()
    discarding(image)
    containerd.put(image)
    async with store_of(containerd):
        await eventually(lambda: kept(containerd) == layers_of(image))
    (before,) = containerd.leases
    other = docker_image()
    discarding(other)
    async with store_of(containerd):
        containerd.put(other)
        # By then it has taken over what was kept, and knows whose it is.
        await eventually(lambda: kept(containerd) == layers_of(image) | layers_of(other))
        containerd.remove(image)
        # One more comes and goes, to have garbage collected.
        await eventually(lambda: containerd.leases == {before: layers_of(other)})


async def test_a_restarted_containerd_is_reconciled_with(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image()
    discarding(image)
    containerd.put(image)
    async with store_of(containerd):
        await eventually(lambda: kept(containerd) == layers_of(image))
        await containerd.stop()
        containerd.leases.clear()
        await containerd.start()
        await eventually(lambda: kept(containerd) == layers_of(image))


async def test_never_more_than_the_budget(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    first = oci_image("r.example/a:v1", layers=(b"a" * 40, b"b" * 40))
    second = oci_image("r.example/b:v1", layers=(b"c" * 60,))
    for image in (first, second):
        discarding(image)
    async with store_of(containerd, keep=100):
        containerd.put(first)
        await eventually(lambda: kept(containerd) == layers_of(first))
        containerd.put(second)
        await eventually(lambda: layers_of(second) < kept(containerd))
        assert len(kept(containerd)) == 2


async def test_a_smaller_budget_after_a_restart_lets_go(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None]
) -> None:
    image = oci_image(layers=(b"a" * 40, b"b" * 40))
    discarding(image)
    containerd.put(image)
    async with store_of(containerd, keep=100):
        await eventually(lambda: kept(containerd) == layers_of(image))
    async with store_of(containerd, keep=50):
        await eventually(lambda: len(kept(containerd)) == 1)
    async with store_of(containerd, keep=0):
        await eventually(lambda: not containerd.leases)


async def test_a_failed_pull_is_not_held_to_have_succeeded(
    containerd: FakeContainerd, discarding: Callable[[SampleImage], None], folder: Path
) -> None:
    """Its layers stay leased for a while, for the attempt that follows; what never came costs nothing."""
    image = oci_image()
    discarding(image)
    async with store_of(containerd) as store:
        await ask(store, image.target.digest)
        containerd.put_blob(image.manifest)
        await ask(store, image.target.digest)
        config = parse_manifest(image.manifest).children[0]
        await ask(store, config.digest)
        await eventually(lambda: kept(containerd) == layers_of(image))
    async with store_of(containerd):
        await eventually(lambda: kept(containerd) == set())


async def test_a_look_at_what_is_waited_for_is_spared_only_while_no_content_has_come(tmp_path: Path) -> None:
    route = FilesRoute(BlobFiles(tmp_path))
    layers = UnkeptLayers(cast("ContainerdConnection", None), cast("Route", route))
    folder = tmp_path / "blobs" / "sha256"
    assert layers.may_have_come(), "there is no folder yet: nothing is known"
    assert layers.may_have_come()
    folder.mkdir(parents=True)
    os.utime(folder, (1000, 1000))
    assert layers.may_have_come()
    assert not layers.may_have_come()
    (folder / "new").touch()
    assert layers.may_have_come()
    assert layers.may_have_come(), "something else may have come within the same step of the clock"
    os.utime(folder, (2000, 2000))
    assert layers.may_have_come()
    assert not layers.may_have_come()
    route.blobs = BlobFiles(tmp_path)
    assert layers.may_have_come(), "it may be another containerd"


@dataclass
class FilesRoute:
    """The way to content that is chosen now."""

    blobs: BlobFiles
