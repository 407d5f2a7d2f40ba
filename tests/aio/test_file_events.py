from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.aio.file_events import FileEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.aio.file_events import Changes


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.touch()
    return path


def append(path: Path, data: bytes = b"more") -> None:
    with path.open("ab") as file:
        file.write(data)


async def wait(changes: Changes) -> None:
    async with asyncio.timeout(30):
        await changes.wait()


def instances() -> int:
    """The inotify instances of this process."""
    links = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return links.count("anon_inode:inotify")


async def test_writing_is_told(path: Path) -> None:
    events = FileEvents()
    with opened(path) as fd, events.watching(fd) as changes:
        append(path)
        await wait(changes)
        waiting = asyncio.create_task(wait(changes))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        append(path)
        await waiting


async def test_what_happened_before_waiting_is_told_once(path: Path) -> None:
    events = FileEvents()
    with opened(path) as fd, events.watching(fd) as changes:
        for _ in range(100):
            append(path)
        await wait(changes)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await changes.wait()


async def test_a_renamed_file_is_followed_and_its_removal_told(path: Path) -> None:
    events = FileEvents()
    with opened(path) as fd:
        path = path.rename(path.with_name("blob"))
        with events.watching(fd) as changes:
            append(path)
            await wait(changes)
            path = path.rename(path.with_name("again"))
            path.unlink()
            await wait(changes)
            assert os.fstat(fd).st_nlink == 0


async def test_many_wait_for_one_watch_of_one_instance(path: Path) -> None:
    events = FileEvents()
    other = path.with_name("other")
    other.touch()
    with opened(path) as fd, opened(path) as again, opened(other) as third:
        assert instances() == 0
        with events.watching(fd) as first, events.watching(again) as second, events.watching(third) as unmoved:
            assert instances() == 1
            append(path)
            await wait(first)
            await wait(second)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await unmoved.wait()
        assert instances() == 0


async def test_who_stays_is_told_when_another_leaves(path: Path) -> None:
    events = FileEvents()
    with opened(path) as fd, events.watching(fd) as stays:
        with events.watching(fd):
            pass
        append(path)
        await wait(stays)


async def test_a_file_that_cannot_be_watched_is_looked_at() -> None:
    with FileEvents().watching(10_000) as changes:
        await wait(changes)
    assert instances() == 0
