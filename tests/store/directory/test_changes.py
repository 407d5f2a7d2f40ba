"""What a directory tells those who wait for something new in it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from registryd.store.directory.layout import Layout
from registryd.store.directory.store import DirectoryStore
from tests.fakes.images import oci_image
from tests.fakes.layouts import forget, write_image

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_change_of_names_is_told_once(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    write_image(root, image)
    os.utime(root / "index.json", (0, 0))  # else it might change again within the same tick of the clock
    await store.wait_renamed()
    waiting = asyncio.create_task(store.wait_renamed())
    for _ in range(5):
        assert [naming.name for naming in await store.namings()] == [image.name]
    assert not waiting.done()
    forget(root, image)
    await waiting
    assert not await store.namings()


async def test_a_change_is_told_although_somebody_else_has_seen_it(root: Path, store: DirectoryStore) -> None:
    image = oci_image()
    write_image(root, image)
    os.utime(root / "index.json", (0, 0))
    assert await store.resolve(image.name)
    await store.wait_renamed()


@pytest.mark.looptime
async def test_a_directory_without_an_index_is_looked_at_again(tmp_path: Path) -> None:
    await DirectoryStore(Layout(tmp_path)).wait_renamed()
    assert asyncio.get_running_loop().time() == pytest.approx(1)
