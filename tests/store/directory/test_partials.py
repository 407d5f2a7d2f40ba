"""What broke off is kept for the next attempt, within bounds, and found again whoever died."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound
from registryd.content.writer import ContentMismatch, IngestInProgress, StoreFull
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.directory.bounded import open_bounded_store
from registryd.store.directory.fsck import check_layout
from registryd.store.directory.layout import Layout
from registryd.store.directory.partials import boot_id
from registryd.store.directory.space import SpaceLimits
from registryd.store.directory.store import open_directory_store
from tests.contracts.content_store import read
from tests.fakes.entitled import REPOSITORY
from tests.fakes.images import sample_bytes
from tests.store.directory.test_session import kill, start

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.store.directory.bounded import BoundedStore

MIB = 1 << 20
DATA = sample_bytes(4 * MIB)
DIGEST = Digest.of(DATA)
COME = 3 * MIB
NONE = SpaceLimits()

# A process that receives, says so when all that came is in the file, and works until it is killed.
_RECEIVES = """
import asyncio, sys
from pathlib import Path
from registryd.oci.digest import Digest
from registryd.store.directory.bounded import open_bounded_store
from registryd.store.directory.space import SpaceLimits
from tests.fakes.entitled import REPOSITORY
from tests.store.directory.test_partials import COME, DATA, DIGEST

async def main():
    async with open_bounded_store(Path(sys.argv[1]), SpaceLimits()) as store:
        ingest = await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        await ingest.write(DATA[:COME])
        print("receiving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def break_off(store: BoundedStore, data: bytes = DATA, *, come: int = COME) -> Digest:
    digest = Digest.of(data)
    ingest = await store.begin(digest, size=len(data), repository=REPOSITORY)
    await ingest.write(data[ingest.received : come])
    await ingest.aclose()
    return digest


async def finish(store: BoundedStore, data: bytes = DATA, *, expected: int = COME) -> None:
    digest = Digest.of(data)
    assert store.kept(digest, REPOSITORY) == expected
    ingest = await store.begin(digest, size=len(data), repository=REPOSITORY)
    assert (ingest.received, ingest.written) == (expected, expected)
    await ingest.write(data[ingest.received :])
    await ingest.commit()
    await ingest.aclose()
    opened = await store.open(digest, Span.whole)
    await opened.body.aclose()
    assert opened.content.size == len(data)
    assert store.kept(digest, REPOSITORY) == 0


def files(root: Path) -> list[str]:
    return [path.name for path in root.glob("ingest/partial/*/*")]


async def test_what_was_closed_is_gone_on_with(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
        await finish(store)
    assert files(root) == []


async def test_also_by_the_next_process(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
    async with open_bounded_store(root, NONE) as store:
        await finish(store)
    async with open_directory_store(root) as plain:
        assert await read(plain, DIGEST, Span.whole) == DATA


async def test_also_what_a_killed_process_was_receiving(root: Path) -> None:
    process = start(_RECEIVES, root)
    async with open_bounded_store(root, NONE) as store:
        assert store.kept(DIGEST, REPOSITORY) == 0, "it lives"
    assert check_layout(Layout(root)).partial == 0, "what arrives has not broken off"
    kill(process)
    assert check_layout(Layout(root)).partial == COME
    async with open_bounded_store(root, NONE) as store:
        await finish(store)
    assert not list(root.glob("ingest/*/lock"))


async def test_not_what_a_machine_that_went_down_was_receiving(root: Path) -> None:
    """Nobody knows which of the bytes reached the disk."""
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
    (root / "ingest" / "partial" / boot_id()).rename(root / "ingest" / "partial" / "another-boot")
    session = root / "ingest" / ("0" * 32)
    session.mkdir()
    (session / "lock").write_text("another-boot")
    (session / f"sha256-{DIGEST.encoded}").write_bytes(DATA[:COME])
    async with open_bounded_store(root, NONE) as store:
        assert store.kept(DIGEST, REPOSITORY) == 0
        assert files(root) == []
        assert not session.exists()


async def test_what_turned_out_wrong_is_not_kept(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        ingest = await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        await ingest.write(b"?" * len(DATA))
        with pytest.raises(ContentMismatch):
            await ingest.commit()
        await ingest.aclose()
        assert store.kept(DIGEST, REPOSITORY) == 0


async def test_what_was_changed_meanwhile_is_found_out_and_not_kept(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
        [path] = root.glob("ingest/partial/*/*")
        path.write_bytes(b"?" + DATA[1:COME])
        ingest = await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        await ingest.write(DATA[COME:])
        with pytest.raises(ContentMismatch):
            await ingest.commit()
        await ingest.aclose()
        with pytest.raises(ContentNotFound):
            await store.find(DIGEST)
        await finish(store, expected=0)


async def test_more_than_the_size_is_begun_anew(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
        ingest = await store.begin(DIGEST, size=COME - 1, repository=REPOSITORY)
        assert ingest.received == 0
        await ingest.aclose()


async def test_what_is_removed_meanwhile_is_begun_anew(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
        [path] = root.glob("ingest/partial/*/*")
        path.unlink()
        ingest = await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        assert ingest.received == 0
        await ingest.aclose()


async def test_a_little_is_not_worth_it(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store, come=MIB - 1)
        assert files(root) == []


async def test_what_is_old_goes(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        old = await break_off(store)
    [path] = root.glob("ingest/partial/*/*")
    moment = time.time() - 25 * 3600
    os.utime(path, (moment, moment))
    async with open_bounded_store(root, NONE) as store:
        assert store.kept(old, REPOSITORY) == 0
    assert files(root) == []


async def test_what_broke_off_makes_room_the_oldest_first(root: Path) -> None:
    first, second, new = (sample_bytes(2 * MIB, seed=seed) for seed in range(3))
    async with open_bounded_store(root, SpaceLimits(size_limit=5 * MIB)) as store:
        for data in (first, second):
            await break_off(store, data, come=len(data))
        assert len(files(root)) == 2
        await finish(store, new, expected=0)
        assert (store.kept(Digest.of(first), REPOSITORY), store.kept(Digest.of(second), REPOSITORY)) == (0, len(second))


async def test_what_is_gone_on_with_is_not_removed_for_itself(root: Path) -> None:
    async with open_bounded_store(root, SpaceLimits(size_limit=len(DATA))) as store:
        await break_off(store)
        await finish(store)


async def test_what_broke_off_counts(root: Path) -> None:
    kept = sample_bytes(2 * MIB, seed=1)
    async with open_bounded_store(root, SpaceLimits(size_limit=4 * MIB, min_age=600)) as store:
        await finish(store, sample_bytes(2 * MIB, seed=2), expected=0)
        await break_off(store, kept, come=len(kept))
        with pytest.raises(StoreFull):
            await store.begin(DIGEST, size=3 * MIB, repository=REPOSITORY)
        # It went for what then found no room all the same: the room is what counts.
        ingest = await store.begin(DIGEST, size=2 * MIB, repository=REPOSITORY)
        await ingest.aclose()


async def test_it_is_still_there_for_who_comes_too_early(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        ingest = await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        with pytest.raises(IngestInProgress):
            await store.begin(DIGEST, size=len(DATA), repository=REPOSITORY)
        await ingest.write(DATA[:COME])
        await ingest.aclose()
        await finish(store)


async def test_fsck_says_what_it_is(root: Path) -> None:
    async with open_bounded_store(root, NONE) as store:
        await break_off(store)
    report = check_layout(Layout(root))
    assert (report.partial, report.findings) == (COME, ())


class Gauge:
    """Keeps the latest reading."""

    used = 0

    def space(self, *, used: int, evicted: int) -> None:
        assert not evicted
        self.used = used


async def test_it_is_told_how_much_is_there(root: Path) -> None:
    gauge = Gauge()
    async with open_bounded_store(root, NONE, gauge) as store:
        await break_off(store)
        assert gauge.used == COME
        await finish(store)
        assert gauge.used == len(DATA)


async def test_a_plain_store_keeps_nothing(root: Path) -> None:
    async with open_directory_store(root) as store:
        ingest = await store.begin(DIGEST, size=len(DATA))
        await ingest.write(DATA[:COME])
        await ingest.aclose()
    assert files(root) == []
