"""Room is made by what was not used for longest, images as a whole, and never by what is pinned, new or in use."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound
from registryd.content.writer import StoreFull
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import DigestedName, TaggedName
from registryd.oci.referrers import referrers_tag
from registryd.store.directory.bounded import BoundedStore, open_bounded_store
from registryd.store.directory.fsck import check_layout, repair_layout
from registryd.store.directory.layout import Layout
from registryd.store.directory.partials import Partials
from registryd.store.directory.sources import Sources
from registryd.store.directory.space import Space, SpaceLimits
from registryd.store.directory.store import open_directory_store
from registryd.store.directory.usage import stored_blobs
from tests.fakes.entitled import REPOSITORY
from tests.fakes.images import (
    SampleImage,
    document_of,
    oci_image,
    oci_index,
    raw_descriptor,
    sample_bytes,
    signature_of,
)
from tests.fakes.layouts import blob_path
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.oci.reference import Repository
    from registryd.store.directory.bounded import ReservedIngest
    from registryd.store.directory.usage import StoredBlob

HOUR = 3600.0


def image(number: int) -> SampleImage:
    """An image of some 10 kB that shares nothing with others but its config."""
    return oci_image(f"registry.example/demo/app:v{number}", layers=(sample_bytes(10_000, seed=number),))


async def put(store: BoundedStore, root: Path, sample: SampleImage, *, used: float) -> None:
    """Store an image, last used so many seconds ago."""
    for digest, data in sample.blobs.items():
        ingest = await store.begin(digest, size=len(data), repository=REPOSITORY)
        await ingest.write(data)
        await ingest.commit()
        await ingest.aclose()
        moment = time.time() - used
        os.utime(blob_path(root, digest), (moment, moment))
    await store.name({sample.name: sample.target})


def size_of(*samples: SampleImage) -> int:
    return sum(len(data) for data in {d: b for sample in samples for d, b in sample.blobs.items()}.values())


def there(root: Path) -> set[str]:
    return {path.name for path in root.glob("blobs/*/*")}


def stored_bytes(root: Path) -> int:
    total = 0
    for path in root.glob("blobs/*/*"):
        with suppress(FileNotFoundError):  # evicted between the two looks
            total += path.stat().st_size
    return total


def is_whole(root: Path, sample: SampleImage) -> bool:
    return {digest.encoded for digest in sample.blobs} <= there(root)


@asynccontextmanager
async def limited(root: Path, **limits: object) -> AsyncIterator[BoundedStore]:
    async with open_bounded_store(root, SpaceLimits(**limits)) as store:  # type: ignore[arg-type]
        yield store


async def test_the_image_that_was_not_used_for_longest_goes_as_a_whole(root: Path) -> None:
    old, middle, new = image(1), image(2), image(3)
    async with limited(root, size_limit=size_of(old, middle) + 500) as store:
        await put(store, root, middle, used=2 * HOUR)
        await put(store, root, old, used=3 * HOUR)
        await put(store, root, new, used=0)
        assert [is_whole(root, sample) for sample in (old, middle, new)] == [False, True, True]
        assert await store.resolve(old.name) == ()
        with pytest.raises(ContentNotFound):
            await store.find(old.target.digest)
    assert sum(path.stat().st_size for path in root.glob("blobs/*/*")) <= size_of(old, middle) + 500


async def test_reading_is_using_and_outlives_a_restart(root: Path) -> None:
    first, second, third = image(1), image(2), image(3)
    limits = {"size_limit": size_of(first, second) + 500}
    async with limited(root, **limits) as store:
        await put(store, root, first, used=3 * HOUR)
        await put(store, root, second, used=2 * HOUR)
        opened = await store.open(first.target.digest, Span.whole)
        await opened.body.aclose()
    async with limited(root, **limits) as store:
        await put(store, root, third, used=0)
    assert [is_whole(root, sample) for sample in (first, second, third)] == [True, False, True]


async def test_an_index_keeps_what_it_leads_to(root: Path) -> None:
    index, other, new = oci_index(), image(1), image(2)
    async with limited(root, size_limit=size_of(index, other) + 500) as store:
        await put(store, root, index, used=5 * HOUR)
        await put(store, root, other, used=2 * HOUR)
        moment = time.time() - HOUR
        os.utime(blob_path(root, index.target.digest), (moment, moment))
        await put(store, root, new, used=0)
    assert [is_whole(root, sample) for sample in (index, other, new)] == [True, False, True]


async def test_pinned_images_stay(root: Path) -> None:
    pinned, other, new = image(1), image(2), image(3)
    async with limited(root, size_limit=size_of(pinned, other) + 500, pinned=("registry.example/*:v1",)) as store:
        await put(store, root, pinned, used=9 * HOUR)
        await put(store, root, other, used=HOUR)
        await put(store, root, new, used=0)
    assert [is_whole(root, sample) for sample in (pinned, other, new)] == [True, False, True]


async def test_images_that_are_named_by_digest_are_pinned_like_others(root: Path) -> None:
    pinned, other, new = image(1), image(2), image(3)
    by_digest = DigestedName(pinned.name.repository, pinned.target.digest)
    async with limited(root, size_limit=size_of(pinned, other) + 500, pinned=("*@sha256:*",)) as store:
        await put(store, root, pinned, used=9 * HOUR)
        await store.name({by_digest: pinned.target})
        await put(store, root, other, used=HOUR)
        await put(store, root, new, used=0)
    assert [is_whole(root, sample) for sample in (pinned, other, new)] == [True, False, True]


async def test_what_is_attached_to_pinned_images_stays_with_them(root: Path) -> None:
    pinned, other, new = image(1), image(2), image(3)
    signature = signature_of(pinned)
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [raw_descriptor(signature.target)]}
    )
    tag = referrers_tag(pinned.target.digest)
    signatures = SampleImage(
        TaggedName(pinned.name.repository, tag), target, {target.digest: data, **signature.blobs}, {}
    )
    cosign = oci_image(f"{pinned.name.repository}:{tag}.sig", layers=(b"cosign's",))
    limit = size_of(pinned, signatures, cosign, other) + 500
    async with limited(root, size_limit=limit, pinned=("registry.example/*:v1",)) as store:
        for each in (signatures, cosign, pinned):
            await put(store, root, each, used=9 * HOUR)
        await put(store, root, other, used=HOUR)
        await put(store, root, new, used=0)
    stayed = [is_whole(root, sample) for sample in (pinned, signatures, cosign, other, new)]
    assert stayed == [True, True, True, False, True]


async def test_what_is_new_is_not_removed_for_what_is_newer(root: Path) -> None:
    first, second = image(1), image(2)
    async with limited(root, size_limit=size_of(first) + 500, min_age=600.0) as store:
        await put(store, root, first, used=10)
        with pytest.raises(StoreFull):
            await put(store, root, second, used=0)
    assert is_whole(root, first)


async def test_what_is_being_read_is_not_removed(root: Path) -> None:
    first = image(1)
    async with limited(root, size_limit=size_of(first)) as store:
        await put(store, root, first, used=HOUR)
        opened = [await store.open(digest, Span.whole) for digest in first.blobs]
        with pytest.raises(StoreFull):
            await store.begin(Digest.of(b"x"), size=5000, repository=REPOSITORY)
        for each in opened:
            await each.body.send_to(FakeSink())
            await each.body.aclose()
        await (await store.begin(Digest.of(b"x"), size=5000, repository=REPOSITORY)).aclose()


async def test_what_arrives_together_does_not_exceed_the_limit(root: Path) -> None:
    async with limited(root, size_limit=100_000) as store:

        async def receive(seed: int) -> None:
            data = sample_bytes(9_000, seed=seed)
            try:
                ingest = await store.begin(Digest.of(data), size=len(data), repository=REPOSITORY)
            except StoreFull:
                return
            for start in range(0, len(data), 1000):
                await ingest.write(data[start : start + 1000])
                assert stored_bytes(root) <= 100_000
            await ingest.commit()
            await ingest.aclose()

        for batch in range(4):
            await asyncio.gather(*(receive(20 * batch + seed) for seed in range(20)))
    assert sum(path.stat().st_size for path in root.glob("blobs/*/*")) <= 100_000


async def test_what_is_stored_while_is_counted_what_there_is_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_looked, may_go_on = threading.Event(), threading.Event()

    def look_and_wait(layout: Layout) -> list[StoredBlob]:
        found = list(stored_blobs(layout))
        has_looked.set()
        assert may_go_on.wait(20)
        return found

    async def begin(seed: int) -> ReservedIngest:
        data = sample_bytes(9_000, seed=seed)
        ingest = await store.begin(Digest.of(data), size=len(data), repository=REPOSITORY)
        await ingest.write(data)
        return ingest

    async with limited(root, size_limit=20_000) as store:
        async with aclosing(await begin(1)) as ingest:
            await ingest.commit()
        async with aclosing(await begin(2)) as ingest:
            monkeypatch.setattr("registryd.store.directory.space.stored_blobs", look_and_wait)
            third = asyncio.create_task(begin(3))
            assert await asyncio.to_thread(has_looked.wait, 20)
            await ingest.commit()
        may_go_on.set()
        async with aclosing(await third) as ingest:
            await ingest.commit()
    assert stored_bytes(root) <= 20_000


async def test_room_that_was_not_needed_is_given_back(root: Path) -> None:
    async with limited(root, size_limit=1000) as store:
        for _ in range(5):
            await (await store.begin(Digest.of(b"x"), size=900, repository=REPOSITORY)).aclose()


async def test_the_file_system_is_not_filled(root: Path) -> None:
    async with limited(root, keep_free=1 << 60) as store:
        with pytest.raises(StoreFull):
            await store.begin(Digest.of(b"x"), size=1, repository=REPOSITORY)


async def test_what_is_evicted_while_it_is_named_is_not_named(root: Path) -> None:
    sample = image(1)
    async with limited(root) as store:
        for digest, data in sample.blobs.items():
            ingest = await store.begin(digest, size=len(data), repository=REPOSITORY)
            await ingest.write(data)
            await ingest.commit()
        with Layout(root).locked():  # as an eviction does
            naming = asyncio.create_task(store.name({sample.name: sample.target}))
            await asyncio.sleep(0.05)  # until it waits for the lock; an earlier look would have found the content
            blob_path(root, sample.target.digest).unlink()
        with pytest.raises(ContentNotFound):
            await naming
        assert await store.resolve(sample.name) == ()
    assert check_layout(Layout(root)).findings == ()


# Checking


async def test_a_sound_store_has_no_findings(root: Path) -> None:
    sample = oci_index()
    async with limited(root) as store:
        await put(store, root, sample, used=0)
    report = check_layout(Layout(root))
    assert (report.blobs, report.size, report.names, report.findings) == (len(sample.blobs), size_of(sample), 1, ())


async def test_damage_is_found_and_put_right(root: Path) -> None:
    sample, lost = image(1), image(2)
    async with limited(root) as store:
        await put(store, root, sample, used=0)
        await put(store, root, lost, used=0)
    damaged = next(digest for digest, data in sample.blobs.items() if len(data) == 10_000)
    path = blob_path(root, damaged)
    path.chmod(0o644)
    path.write_bytes(b"?" * 10_000)
    blob_path(root, lost.target.digest).unlink()
    report = check_layout(Layout(root))
    assert [finding.digest for finding in report.findings] == [damaged, lost.target.digest]
    repair_layout(Layout(root), report)
    assert check_layout(Layout(root)).findings == ()
    names = [
        entry["annotations"]["io.containerd.image.name"]
        for entry in json.loads((root / "index.json").read_text())["manifests"]
    ]
    assert names == [str(sample.name)]


class Gauge:
    """What an observer was told last."""

    used = -1

    def space(self, *, used: int, evicted: int) -> None:
        self.used = used


@pytest.mark.parametrize("removed", ["", "blobs/sha256", "ingest"])
async def test_what_is_removed_by_hand_is_counted_no_more(
    tmp_path: Path, removed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.store.directory.space._RECOUNT_SECONDS", 0.02)
    gauge, root, broken = Gauge(), tmp_path / "store", sample_bytes(2_000_000)
    async with open_bounded_store(root, SpaceLimits(), gauge) as store:
        await put(store, root, image(1), used=0)
        ingest = await store.begin(Digest.of(broken), size=len(broken), repository=REPOSITORY)
        await ingest.write(broken[:1_500_000])
        await ingest.aclose()
        assert gauge.used > 1_510_000
        shutil.rmtree(root / removed)
        counting = asyncio.create_task(store.keep_measured())
        expected = {"": range(1), "blobs/sha256": range(1_500_000, 1_500_001), "ingest": range(10_000, 20_000)}[removed]
        async with asyncio.timeout(10):
            while gauge.used not in expected:  # noqa: ASYNC110 - threads count
                await asyncio.sleep(0.01)
        counting.cancel()
        await asyncio.wait((counting,))


class SlowToNote(Sources):
    """Never through with noting where content begins to come from."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, lambda _: False)
        self.noting = asyncio.Event()

    async def note_began(self, digest: Digest, repository: Repository) -> None:
        self.noting.set()
        await asyncio.Event().wait()


async def test_who_gives_up_while_it_begins_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither room nor the right to receive it, which would keep it from ever being stored."""
    data = sample_bytes(10_000)
    layout = Layout(tmp_path / "store")
    partials, slow = Partials(layout), SlowToNote(layout)
    async with open_directory_store(layout.root, partials, slow) as inner:
        space = Space(layout, inner.media_types, partials, inner.named, SpaceLimits(size_limit=15_000))
        await space.measure()
        store = BoundedStore(inner, layout, space, partials, slow)
        beginning = asyncio.create_task(store.begin(Digest.of(data), size=len(data), repository=REPOSITORY))
        await slow.noting.wait()
        beginning.cancel()
        await asyncio.wait((beginning,))
        assert beginning.cancelled()
        again = BoundedStore(inner, layout, space, partials, Sources(layout, lambda _: False))
        ingest = await again.begin(Digest.of(data), size=len(data), repository=REPOSITORY)
        await ingest.write(data)
        await ingest.commit()
        await ingest.aclose()
    assert there(layout.root) == {Digest.of(data).encoded}
