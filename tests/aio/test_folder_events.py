from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.aio.file_events import FileEvents
from registryd.aio.folder_events import FolderEvents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncinotify import Inotify


@contextmanager
def folder_events() -> Iterator[FolderEvents]:
    events = FolderEvents(FileEvents())
    try:
        yield events
    finally:
        events.close()


async def wait(events: FolderEvents) -> None:
    async with asyncio.timeout(5):
        await events.wait()


async def is_quiet(events: FolderEvents) -> bool:
    """Whether nothing was told. The kernel tells before a system call returns, so one turn of the loop is enough."""
    waiting = asyncio.create_task(events.wait())
    for _ in range(3):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    return waiting.cancelled()


async def test_what_comes_goes_and_is_renamed_is_told(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with folder_events() as events:
        assert events.follow([one, two])
        assert await is_quiet(events)
        (one / "blob").touch()
        await wait(events)
        (one / "blob").rename(two / "blob")
        await wait(events)
        (two / "blob").unlink()
        await wait(events)


async def test_what_is_written_to_a_file_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    with folder_events() as events:
        assert events.follow([tmp_path])
        (tmp_path / "blob").write_bytes(b"more")
        assert await is_quiet(events)


async def test_following_again_loses_nothing_and_holds_nothing_else(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with folder_events() as events:
        assert events.follow([one])
        assert events.follow([one, two])
        assert events.follow([two])
        assert await is_quiet(events)
        (one / "blob").touch()
        assert await is_quiet(events)
        (two / "blob").touch()
        await wait(events)


async def test_a_folder_that_took_the_place_of_another_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with folder_events() as events:
        assert events.follow([folder])
        folder.rename(tmp_path / "before")
        folder.mkdir()
        assert events.follow([folder])
        (folder / "blob").touch()
        await wait(events)


async def test_the_end_of_a_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with folder_events() as events:
        assert events.follow([folder])
        folder.rmdir()
        await wait(events)
        assert not events.follow([folder])


@pytest.mark.looptime
async def test_where_the_kernel_does_not_tell_there_is_a_look_now_and_then(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with folder_events() as events:
        assert not events.follow([tmp_path / "absent"])
        await events.wait()
        assert loop.time() == pytest.approx(10)
        assert events.follow([tmp_path])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await events.wait()


async def test_without_inotify_nothing_is_promised(tmp_path: Path) -> None:
    class Exhausted(FileEvents):
        """A node whose daemons have used up what the kernel gives."""

        def _open(self) -> Inotify:
            raise OSError(24, "Too many open files")

    events = FolderEvents(Exhausted())
    assert not events.follow([tmp_path])
    events.close()


async def test_somebody_may_say_that_something_has_changed() -> None:
    with folder_events() as events:
        events.tell()
        await wait(events)
        assert await is_quiet(events)
