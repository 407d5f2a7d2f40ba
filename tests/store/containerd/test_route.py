"""Which way bytes go: from files only when they are this containerd's."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from tests.contracts.content_store import is_known, read, until
from tests.fakes.containerd_faults import Fault
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect

FROM_FILES = "read from the files in"
FROM_API = "read through its API"


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="registryd.store.containerd")


async def test_files_are_read_where_introspection_says(
    containerd: FakeContainerd, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        assert await read(store, digest, Span.whole) == b"something"
        assert containerd.calls["Read"] == 0
        assert f"{FROM_FILES} {containerd.root}" in caplog.text
        assert store.gives_arriving


async def test_files_are_read_below_the_configured_root_otherwise(
    containerd: FakeContainerd, connect: Connect, folder: Path
) -> None:
    containerd.root = folder / "configured" / "io.containerd.content.v1.content"
    containerd.told_root = Path("/not/in/this/container")
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        assert await read(store, digest, Span.whole) == b"something"
        assert containerd.calls["Read"] == 0


@pytest.mark.parametrize("other", ["empty", "another containerd's", "damaged"])
async def test_a_folder_that_is_not_this_containerds_is_not_believed(
    containerd: FakeContainerd, connect: Connect, folder: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    digest = containerd.put_blob(b"something")
    blobs = folder / "elsewhere" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    if other != "empty":
        name = digest if other == "damaged" else Digest.of(b"other")
        (blobs / name.encoded).write_bytes(b"other")
    containerd.told_root = folder / "elsewhere"
    async with connect() as store:
        assert await read(store, digest, Span.whole) == b"something"
        assert containerd.calls["Read"] > 0
        assert FROM_API in caplog.text
        assert not store.gives_arriving, "there is no file from which others could get it while it grows"


async def test_files_are_recognised_with_the_first_image(
    containerd: FakeContainerd, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect() as store:
        assert FROM_API in caplog.text
        assert store.gives_arriving, "an empty node looks for what arrives in every folder that may be it"
        image = oci_image()
        containerd.put(image)
        await until(lambda: is_known(store, image))
        reads = containerd.calls["Read"]
        assert await read(store, image.target.digest, Span.whole) == image.manifest
        assert containerd.calls["Read"] == reads
        assert FROM_FILES in caplog.text


async def test_what_begins_to_arrive_is_told_while_files_are_being_recognised(
    containerd: FakeContainerd, connect: Connect
) -> None:
    """Layers begin in the same moment in which an empty node's first content, their manifest, has come."""
    ingests = containerd.root / "ingest"
    ingests.mkdir(parents=True)
    async with connect() as store:
        digest = containerd.put_blob(b"something")
        containerd.fault = Fault.LATE
        recognising = asyncio.create_task(read(store, digest, Span.whole))
        await until(lambda: is_asked_for_plugins(containerd))
        waiting = asyncio.create_task(store.arrivals.wait())
        await asyncio.sleep(0)
        (ingests / "layer").mkdir()
        async with asyncio.timeout(30):
            await waiting
        assert await recognising == b"something"


async def is_asked_for_plugins(containerd: FakeContainerd) -> bool:
    return containerd.calls["Plugins"] > 1


async def test_another_containerd_with_another_root_takes_over(
    containerd: FakeContainerd, connect: Connect, folder: Path
) -> None:
    image = oci_image()
    containerd.put(image)
    async with connect() as store:
        await containerd.stop()
        shutil.move(containerd.root, folder / "moved")
        containerd.root = containerd.told_root = folder / "moved"
        await containerd.start()
        await until(lambda: is_known(store, image))
        assert await read(store, image.target.digest, Span.whole) == image.manifest
        assert containerd.calls["Read"] == 0
