"""Many names: what one costs does not depend on the others, nothing is lost, and index.json follows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.image_layout import IndexEntry, parse_index, render_index
from registryd.oci.reference import DigestedName, TaggedName
from registryd.store.directory.catalog import Catalog
from registryd.store.directory.journal import CatalogChange, Journal
from registryd.store.directory.layout import JOURNAL_FILE, Layout
from registryd.store.directory.name_writer import NameWriter
from registryd.store.directory.store import DirectoryStore, open_directory_store
from tests.fakes.images import docker_image, oci_image
from tests.fakes.layouts import read_index, write_blob, write_image, write_index

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.oci.reference import FullName
    from tests.fakes.images import SampleImage

MANY = 1000  # more than are written at once


def name(number: int) -> TaggedName:
    return TaggedName.parse(f"registry.example/demo/app{number}:v1")


@pytest.fixture
def image() -> SampleImage:
    return oci_image()


@pytest.fixture
def full(root: Path, image: SampleImage) -> Path:
    """A layout with many names."""
    write_image(root, image)
    (root / "index.json").write_bytes(render_index(IndexEntry(image.target, name(number)) for number in range(MANY)))
    return root


def journal_bytes(root: Path) -> int:
    path = root / JOURNAL_FILE
    return path.stat().st_size if path.exists() else 0


def named_in_index(root: Path) -> set[FullName]:
    return {entry.name for entry in parse_index((root / "index.json").read_bytes()) if entry.name}


async def until_written(root: Path) -> None:
    async with asyncio.timeout(20):
        while journal_bytes(root):  # noqa: ASYNC110 - it is written in the background
            await asyncio.sleep(0.01)


async def test_a_name_among_many_costs_its_own_bytes(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as store:
        before = (full / "index.json").stat().st_size
        await store.name({name(MANY): image.target})
        assert 0 < journal_bytes(full) < 500 < before
        assert (full / "index.json").stat().st_size == before
        [known] = await store.resolve(name(MANY))
        assert known.target == image.target
        assert len(await store.names()) == MANY + 1


async def test_a_name_among_few_is_in_the_index_at_once(root: Path, store: DirectoryStore, image: SampleImage) -> None:
    write_blob(root, image.target.digest, image.manifest)
    await store.name({image.name: image.target})
    assert named_in_index(root) == {image.name}
    assert not (root / JOURNAL_FILE).exists()


async def test_the_index_follows_and_has_the_same_times(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as store:
        await store.name({name(MANY): image.target})
        [told] = await store.resolve(name(MANY))
        await until_written(full)
        assert named_in_index(full) == {name(number) for number in range(MANY + 1)}
        assert [*await store.resolve(name(MANY))] == [told]
        await store.name({name(MANY + 1): image.target})
        await until_written(full)
    async with open_directory_store(full) as again:
        assert [*await again.resolve(name(MANY))] == [told]


async def test_the_index_has_everything_when_the_store_is_closed(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as store:
        await asyncio.gather(*(store.name({name(MANY + number): image.target}) for number in range(20)))
    assert not (full / JOURNAL_FILE).exists()
    assert len(named_in_index(full)) == MANY + 20


async def test_names_of_many_meanings_are_named_together_or_not(full: Path, image: SampleImage) -> None:
    absent = docker_image()
    async with open_directory_store(full) as store:
        with pytest.raises(ContentNotFound):
            await store.name({name(MANY): image.target, absent.name: absent.target})
        assert not await store.resolve(name(MANY))
        assert journal_bytes(full) == 0


async def test_an_image_may_be_named_by_what_it_is(full: Path, image: SampleImage) -> None:
    by_digest = DigestedName(image.name.repository, image.target.digest)
    async with open_directory_store(full) as store:
        await store.name({by_digest: image.target})
        [known] = await store.resolve(by_digest)
        assert known.target == image.target
        assert str(by_digest) not in {str(naming.name) for naming in await store.namings()}
    assert by_digest in named_in_index(full)


# ---- somebody else


async def test_two_processes_see_what_the_other_names(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as first, open_directory_store(full) as second:
        for number in range(MANY, MANY + 6, 2):
            await first.name({name(number): image.target})
            assert await second.resolve(name(number))
            await second.name({name(number + 1): image.target})
            assert await first.resolve(name(number + 1))
    assert len(named_in_index(full)) == MANY + 6


async def test_what_another_tool_writes_meanwhile_is_kept(full: Path, image: SampleImage) -> None:
    other = docker_image()
    async with open_directory_store(full) as store:
        await store.name({name(MANY): image.target})
        write_image(full, other)  # over an index.json that is behind
        assert await store.resolve(name(MANY))
        assert await store.resolve(other.name)
    assert {name(MANY), other.name} <= named_in_index(full)


async def test_who_waits_is_told_of_names_in_the_journal(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as store:
        os.utime(full / "index.json", (0, 0))
        async with asyncio.timeout(20):
            await store.wait_renamed()
            waiting = asyncio.create_task(store.wait_renamed())
            await asyncio.sleep(0)
            await store.name({name(MANY): image.target})
            await waiting


# ---- what does not come to its end

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from registryd.oci.descriptor import Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName
from registryd.store.directory.store import open_directory_store

async def main(root, media_type, digest, size):
    async with open_directory_store(Path(root)) as store:
        for number in range(1000, 1010):
            name = TaggedName.parse(f"registry.example/demo/app{number}:v1")
            await store.name({name: Descriptor(media_type, Digest.parse(digest), int(size))})
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_process_loses_no_name(full: Path, image: SampleImage) -> None:
    target = image.target
    arguments = [str(full), target.media_type, str(target.digest), str(target.size)]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)  # noqa: ASYNC221 - for a moment
    assert died.returncode == -signal.SIGKILL
    assert journal_bytes(full)
    async with open_directory_store(full) as store:
        assert named_in_index(full) == {name(number) for number in range(MANY + 10)}
        assert not (full / JOURNAL_FILE).exists()
        assert await store.resolve(name(MANY + 9))


def test_a_line_that_was_not_finished_never_happened(full: Path, image: SampleImage) -> None:
    layout = Layout(full)
    line = CatalogChange({name(MANY): image.target}, 5.0).line()
    (full / JOURNAL_FILE).write_bytes(line + CatalogChange({name(MANY + 1): image.target}, 6.0).line()[:40])
    os.utime(full / "index.json", (0, 0))  # else it might change again within the same tick of the clock
    with closing(Catalog(layout)) as catalog:
        catalog.catch_up()
        assert catalog.is_current()  # and is not read again and again
        assert catalog.get(name(MANY))
        assert not catalog.get(name(MANY + 1))
        writer = NameWriter(layout, catalog)
        writer.name({name(MANY + 2): image.target})
        assert len((full / JOURNAL_FILE).read_bytes().splitlines()) == 2
        writer.checkpoint()
    assert named_in_index(full) == {*(name(number) for number in range(MANY + 1)), name(MANY + 2)}


def test_a_journal_that_is_applied_again_changes_nothing(full: Path, image: SampleImage) -> None:
    layout = Layout(full)
    with closing(Catalog(layout)) as catalog:
        writer = NameWriter(layout, catalog)
        writer.name({name(MANY): image.target})
        journal = (full / JOURNAL_FILE).read_bytes()
        writer.checkpoint()
        index = (full / "index.json").read_bytes()
    (full / JOURNAL_FILE).write_bytes(journal)  # as if it had been killed between the two
    with closing(Catalog(layout)) as catalog:
        catalog.catch_up()
        NameWriter(layout, catalog).checkpoint()
    assert parse_index((full / "index.json").read_bytes()) == parse_index(index)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"{",
        b"\xff",
        b'{"named": [["a", "b", "c", "d"]]}',
        b'{"named": [[1]]}',
        b'{"gone": ["x"]}',
        b"[" * 99999,
    ],
)
def test_lines_that_make_no_sense_are_passed_over(full: Path, image: SampleImage, line: bytes) -> None:
    good = CatalogChange({name(MANY): image.target}, 5.0).line()
    (full / JOURNAL_FILE).write_bytes(line + b"\n" + good)
    with closing(Journal(Layout(full))) as journal:
        assert CatalogChange.parse(good) in list(journal.read())


async def test_a_broken_index_is_not_written_over(full: Path, image: SampleImage) -> None:
    async with open_directory_store(full) as store:
        await store.name({name(MANY): image.target})
        (full / "index.json").write_text("{")
        with pytest.raises(StoreUnavailable, match="nothing can be named"):
            await store.name({name(MANY + 1): image.target})
    assert (full / "index.json").read_text() == "{"
    assert journal_bytes(full)
    write_index(full)
    async with open_directory_store(full):
        assert named_in_index(full) == {name(MANY)}


async def test_a_layout_that_cannot_be_written_has_the_names_of_its_journal(full: Path, image: SampleImage) -> None:
    (full / JOURNAL_FILE).write_bytes(CatalogChange({name(MANY): image.target}, 5.0).line())
    (full / JOURNAL_FILE).chmod(0o444)
    with closing(Catalog(Layout(full))) as catalog:
        catalog.catch_up()
        [known] = catalog.get(name(MANY))
        assert (known.target, known.seen_at) == (image.target, 5.0)


def test_forgotten_content_has_no_names(full: Path, image: SampleImage) -> None:
    other = docker_image()
    write_image(full, other)
    layout = Layout(full)
    with closing(Catalog(layout)) as catalog:
        writer = NameWriter(layout, catalog)
        with layout.locked():
            writer.forget([image.target.digest])
        assert journal_bytes(full)
        assert catalog.names() == [other.name]
        writer.checkpoint()
    assert named_in_index(full) == {other.name}
    assert json.loads((full / "index.json").read_bytes()) == read_index(full)


async def test_many_names_of_one_image_are_one_image(full: Path) -> None:
    async with open_directory_store(full) as store:
        told = await store.describe()
        assert (len(told.names), told.images) == (MANY, 1)
