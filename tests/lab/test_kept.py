from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from lab.errors import LabError, UnavailableError
from lab.kept import keep

if TYPE_CHECKING:
    from pathlib import Path

# Says so whenever it makes something, which takes long enough for the others to come.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from lab.kept import keep

async def make(work):
    print("made", flush=True)
    await asyncio.sleep(0.3)
    (work / "it").mkdir()
    (work / "it" / "content").write_text("x")
    return work / "it"

asyncio.run(keep(Path(sys.argv[1]), make))
"""


async def make(work: Path) -> Path:
    (work / "downloads").write_text("many")
    (work / "it").mkdir()
    return work / "it"


async def test_it_is_made_once_by_whichever_process_comes_first(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "it"
    command = (sys.executable, "-c", PROGRAM, str(target))
    processes = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)]
    said = [(await process.communicate())[0] for process in processes]
    assert sorted(said) == [b"", b"", b"made\n"]
    assert (target / "content").read_text() == "x"


async def test_only_what_is_kept_stays(tmp_path: Path) -> None:
    await keep(tmp_path / "it", make)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it", "it.lock"]
    assert not list((tmp_path / "it").iterdir())


async def test_after_a_failure_nothing_is_kept_and_the_next_one_tries_again(tmp_path: Path) -> None:
    async def fail(work: Path) -> Path:
        (work / "half").write_text("x")
        raise LabError("no network")

    with pytest.raises(LabError):
        await keep(tmp_path / "it", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["it.lock"]
    await keep(tmp_path / "it", make)


async def test_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "it.making" / "it").mkdir(parents=True)
    await keep(tmp_path / "it", make)
    assert not (tmp_path / "it.making").exists()


async def test_where_nothing_can_be_written_it_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UnavailableError, match=r"/cache/it cannot be made: [A-Z]"):
        await keep(tmp_path / "cache" / "it", make)


async def test_waiting_for_another_can_be_given_up(tmp_path: Path) -> None:
    async def never(work: Path) -> Path:
        await asyncio.Event().wait()
        return work

    first = asyncio.create_task(keep(tmp_path / "it", never))
    while not (tmp_path / "it.making").exists():  # noqa: ASYNC110 - a folder
        await asyncio.sleep(0.01)
    second = asyncio.create_task(keep(tmp_path / "it", make))
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
