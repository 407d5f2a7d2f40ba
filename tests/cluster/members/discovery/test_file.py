from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.members.discovery.addresses import AddressListInvalid, parse_addresses
from registryd.cluster.members.discovery.file import FileDiscovery
from registryd.notation import Address
from tests.cluster.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

A, B = Address("192.0.2.1", 3173), Address("2001:db8::1", 3173)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "watched" / "peers"
    path.parent.mkdir()
    return path


@pytest.fixture
async def changes(path: Path) -> AsyncIterator[AsyncGenerator[frozenset[Address], None]]:
    async with aclosing(FileDiscovery(path, reread_seconds=60).watch()) as changes:
        yield changes


async def test_the_file_is_read_and_its_changes_are_seen(
    path: Path, changes: AsyncGenerator[frozenset[Address], None]
) -> None:
    path.write_text(f"{A}\n")
    assert await anext(changes) == {A}
    path.write_text(f"# two now\n{A}\n\n{B}  # v6\n")
    assert await anext(changes) == {A, B}
    path.write_text("")
    assert await anext(changes) == frozenset()


async def test_a_file_that_replaces_it_is_seen(path: Path, changes: AsyncGenerator[frozenset[Address], None]) -> None:
    path.write_text(str(A))
    assert await anext(changes) == {A}
    new = path.with_name(".peers.new")
    new.write_text(f'["{B}"]')
    new.rename(path)
    assert await anext(changes) == {B}


async def test_a_configmap_swaps_the_directory_behind_a_link(
    path: Path, changes: AsyncGenerator[frozenset[Address], None]
) -> None:
    for version, address in (("..1", A), ("..2", B)):
        (path.parent / version).mkdir()
        (path.parent / version / "peers").write_text(str(address))
    data = path.parent / "..data"
    data.symlink_to("..1")
    path.symlink_to("..data/peers")
    assert await anext(changes) == {A}
    swapped = path.parent / "..data_tmp"
    swapped.symlink_to("..2")
    swapped.rename(data)
    assert await anext(changes) == {B}


async def test_what_cannot_be_read_leaves_the_last_set_and_is_logged_once(
    path: Path, changes: AsyncGenerator[frozenset[Address], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(str(A))
    assert await anext(changes) == {A}
    next_change = asyncio.ensure_future(anext(changes))
    for content, warnings in ((None, 1), (None, 1), ("not an address", 2), ("not an address", 2)):
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(content)
        await until(partial(_has_records, caplog, warnings))
        await asyncio.sleep(0.05)
    assert not next_change.done()
    path.write_text(str(B))
    assert await next_change == {B}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]


def _has_records(caplog: pytest.LogCaptureFixture, count: int) -> bool:
    return len(caplog.records) >= count


async def test_a_file_that_comes_late_is_seen(path: Path, changes: AsyncGenerator[frozenset[Address], None]) -> None:
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.05)
    path.write_text(str(A))
    assert await first == {A}


async def test_a_directory_made_anew_is_watched_again(path: Path) -> None:
    async with aclosing(FileDiscovery(path, reread_seconds=0.1).watch()) as changes:
        path.write_text(str(A))
        assert await anext(changes) == {A}
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_text(str(B))
        assert await anext(changes) == {B}
        path.write_text(str(A))
        assert await anext(changes) == {A}


async def test_it_can_be_cancelled_while_it_waits(
    path: Path, changes: AsyncGenerator[frozenset[Address], None]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(changes)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("", set()),
        ("[]", set()),
        ("192.0.2.1:3173\r\n", {A}),
        ("[2001:db8::1]:3173", {B}),
        ('["192.0.2.1:3173", "[2001:db8::1]:3173"]', {A, B}),
    ],
)
def test_lists_in_both_notations(text: str, addresses: set[Address]) -> None:
    assert parse_addresses(text) == addresses


@pytest.mark.parametrize("text", ["host", "192.0.2.1:99999", "[1, 2]", '[["192.0.2.1:1"]]', "a:1 b:2", "[" * 100_000])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(AddressListInvalid):
        parse_addresses(text)


async def test_a_named_pipe_in_its_place_keeps_no_other_task_waiting(
    path: Path, changes: AsyncGenerator[frozenset[Address], None]
) -> None:
    path.write_text(str(A))
    assert await anext(changes) == {A}
    next_change = asyncio.ensure_future(anext(changes))
    path.unlink()
    os.mkfifo(path)
    await asyncio.sleep(0.05)
    path.unlink()
    path.write_text(str(B))
    assert await next_change == {B}


async def test_of_a_list_that_is_too_long_no_part_is_used(
    path: Path, changes: AsyncGenerator[frozenset[Address], None], caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"{A}\n" + "#" * (4 << 20))
    first = asyncio.ensure_future(anext(changes))
    await until(lambda: "is larger than" in caplog.text)
    assert not first.done()
    path.write_text(str(B))
    assert await first == {B}


async def test_a_file_that_is_being_written_is_read_when_it_is_closed(
    path: Path, changes: AsyncGenerator[frozenset[Address], None]
) -> None:
    path.write_text(f"{A}\n{B}\n")
    assert await anext(changes) == {A, B}
    path.unlink()
    next_change = asyncio.ensure_future(anext(changes))
    with path.open("w") as file:
        await asyncio.sleep(0.05)
        file.write(f"{A}\n")
        file.flush()
        await asyncio.sleep(0.05)
        assert not next_change.done()
        file.write("# and no more\n")
    assert await next_change == {A}


async def test_another_name_of_a_file_is_seen(path: Path, changes: AsyncGenerator[frozenset[Address], None]) -> None:
    path.write_text(str(A))
    assert await anext(changes) == {A}
    other = path.parent.with_name("other")
    other.write_text(str(B))
    path.unlink()
    path.hardlink_to(other)
    assert await anext(changes) == {B}
