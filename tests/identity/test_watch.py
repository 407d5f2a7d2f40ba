"""Files are replaced in all the ways in which editors, scripts and Kubernetes do it; the kernel tells of each."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.identity.errors import SecretInvalid
from registryd.identity.watch import directories_of, follow, looks_at

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path


def _write_in_place(file: Path) -> None:
    file.write_text("new")


def _rename_over(file: Path) -> None:
    fresh = file.with_name("fresh")
    fresh.write_text("new")
    fresh.rename(file)


def _remove_and_create(file: Path) -> None:
    file.unlink()
    file.write_text("new")


@pytest.mark.parametrize("replace", [_write_in_place, _rename_over, _remove_and_create])
async def test_a_replaced_file_is_looked_at(tmp_path: Path, replace: Callable[[Path], None]) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    async with _looking(file) as looks:
        replace(file)
        await anext(looks)


async def test_a_secret_of_kubernetes(tmp_path: Path) -> None:
    # As kubelet's atomic writer does it: secret -> ..data/secret, ..data -> a directory for each version.
    file, data = tmp_path / "secret", tmp_path / "..data"
    _version(tmp_path, "1")
    data.symlink_to("..version_1")
    file.symlink_to("..data/secret")
    async with _looking(file) as looks:
        for version in ("2", "3"):
            _version(tmp_path, version)
            (tmp_path / "..data_tmp").symlink_to(f"..version_{version}")
            (tmp_path / "..data_tmp").rename(data)
            while file.read_text() != version:
                await anext(looks)
            await anext(looks)


async def test_a_linked_directory_elsewhere(tmp_path: Path) -> None:
    for version in ("1", "2"):
        _version(tmp_path, version)
    (tmp_path / "links").mkdir()
    current = tmp_path / "links" / "current"
    current.symlink_to("../..version_1")
    async with _looking(current / "secret") as looks:
        current.unlink()
        current.symlink_to("../..version_2")
        await anext(looks)


async def test_what_happens_while_the_caller_looks_is_not_missed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    async with aclosing(looks_at([file], every=60, settle=0)) as looks:
        await anext(looks)
        file.write_text("the file appears before the next wait begins")
        await anext(looks)


async def test_without_being_told_it_looks_from_time_to_time(tmp_path: Path) -> None:
    async with aclosing(looks_at([tmp_path / "gone" / "secret"], every=0.001, settle=0)) as looks:
        for _ in range(3):
            await anext(looks)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert tmp_path in directories_of(tmp_path / "a")


async def test_a_complaint_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, looked, loop = tmp_path / "secret", asyncio.Queue[str](), asyncio.get_running_loop()

    def load() -> None:
        text = file.read_text()
        loop.call_soon_threadsafe(looked.put_nowait, text)
        if text != "good":
            raise SecretInvalid(text)

    file.write_text("good")
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(follow([file], load))
        # Each look begins when what the one before said has been logged.
        for text in ("bad", "bad", "worse", "good"):
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").rename(file)
            while await looked.get() != text:
                pass
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["bad", "worse"]


@asynccontextmanager
async def _looking(file: Path) -> AsyncIterator[AsyncGenerator[None, None]]:
    """The first look, at what is there, is over; the next one has to be caused."""
    async with asyncio.timeout(10), aclosing(looks_at([file], every=60, settle=0)) as looks:
        await anext(looks)
        yield looks


def _version(directory: Path, version: str) -> None:
    (directory / f"..version_{version}").mkdir()
    (directory / f"..version_{version}" / "secret").write_text(version)
