"""Content that was delivered and does not come to be in the store was wrong; nothing else proves that."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from registryd.aio.scope import open_scope
from registryd.content.aftermath import Aftermath
from registryd.content.growing import Began, OngoingIngest
from registryd.content.source import Content
from registryd.oci.digest import Digest
from tests.fakes.sources import FailingSource, MemorySource, SilentSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.content.source import ContentSource

pytestmark = pytest.mark.looptime

DATA = b"layer"
DIGEST = Digest.of(DATA)
MIB = 1 << 20
INGEST = OngoingIngest(Began(1, 2, 3), len(DATA))


@dataclass
class FakeGivers:
    """Remembers the verdicts, and when they came."""

    verdicts: list[tuple[str, float]] = field(default_factory=list)
    gave: bool = True

    def await_verdict(self, digest: Digest) -> bool:
        return self.gave

    def kept(self, digest: Digest) -> None:
        self._add("kept")

    def thrown_away(self, digest: Digest) -> None:
        self._add("thrown away")

    def suspected(self, digest: Digest) -> None:
        self._add("suspected")

    def _add(self, verdict: str) -> None:
        self.verdicts.append((verdict, round(asyncio.get_running_loop().time(), 3)))


@dataclass
class Scene:
    """A delivery and its aftermath."""

    aftermath: Aftermath
    store: MemorySource
    givers: FakeGivers
    is_connected: bool = True
    ingest: OngoingIngest | None = None

    def deliver(self, *, size: int = len(DATA)) -> None:
        self.aftermath.delivered(Content(DIGEST, size, None), is_connected=lambda: self.is_connected)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store, givers = MemorySource(), FakeGivers()
    async with open_scope() as scope:
        made = Scene(Aftermath(store, givers, scope, ingest_of=lambda _: made.ingest), store, givers)
        yield made


async def test_what_the_store_would_not_have_anyway_blames_nobody() -> None:
    """containerd keeps it for another namespace, or the disk is full."""
    givers, asked = FakeGivers(), []

    def would_have(content: Content) -> bool:
        asked.append(content.size)
        return False

    async with open_scope() as scope:
        aftermath = Aftermath(MemorySource(), givers, scope, would_have=would_have)
        aftermath.delivered(Content(DIGEST, len(DATA), None), is_connected=lambda: True)
        await asyncio.sleep(60)
    assert not givers.verdicts
    assert asked == [len(DATA)]


async def test_a_trial_that_is_removed_at_once_blames_nobody() -> None:
    givers = FakeGivers()
    async with open_scope() as scope:
        aftermath = Aftermath(MemorySource(), givers, scope, is_trial=lambda digest: digest == DIGEST)
        aftermath.delivered(Content(DIGEST, len(DATA), None), is_connected=lambda: True)
        await asyncio.sleep(60)
    assert not givers.verdicts


async def verdicts_over(store: ContentSource, seconds: float) -> list[tuple[str, float]]:
    givers = FakeGivers()
    async with open_scope() as scope:
        aftermath = Aftermath(store, givers, scope)
        aftermath.delivered(Content(DIGEST, len(DATA), None), is_connected=lambda: True)
        await asyncio.sleep(seconds)
    return givers.verdicts


async def test_content_that_is_stored_at_once_was_right(scene: Scene) -> None:
    scene.store.add(DIGEST, DATA)
    scene.deliver()
    await asyncio.sleep(60)
    assert scene.givers.verdicts == [("kept", 0.02)]


async def test_content_that_is_stored_in_time_was_right_even_if_it_is_gone_soon_after(scene: Scene) -> None:
    scene.deliver()
    await asyncio.sleep(0.31)
    scene.store.add(DIGEST, DATA)
    await asyncio.sleep(0.4)
    scene.store.remove(DIGEST)
    await asyncio.sleep(60)
    ((verdict, at),) = scene.givers.verdicts
    assert (verdict, round(at, 2)) == ("kept", 0.31)


async def test_content_that_never_comes_to_be_there_was_wrong(scene: Scene) -> None:
    scene.deliver()
    await asyncio.sleep(60)
    assert scene.givers.verdicts == [("thrown away", 5.0)]


async def test_large_content_is_given_the_time_that_a_slow_disk_needs(scene: Scene) -> None:
    scene.deliver(size=500_000_000)
    await asyncio.sleep(60)
    assert scene.givers.verdicts == [("thrown away", 15.0)]


@pytest.mark.parametrize("flushing_seconds", [7.0, 110.0])
async def test_while_containerd_has_the_ingest_nothing_is_known(scene: Scene, flushing_seconds: float) -> None:
    """Its disk is busy."""
    scene.ingest = INGEST
    scene.deliver()
    await asyncio.sleep(flushing_seconds)
    assert scene.givers.verdicts == []
    scene.store.add(DIGEST, DATA)
    scene.ingest = None
    await asyncio.sleep(60)
    assert [verdict for verdict, _ in scene.givers.verdicts] == ["kept"]


async def test_content_whose_ingest_ends_late_and_leaves_nothing_was_wrong(scene: Scene) -> None:
    scene.ingest = INGEST
    scene.deliver()
    await asyncio.sleep(20)
    scene.ingest = None
    await asyncio.sleep(60)
    ((verdict, at),) = scene.givers.verdicts
    assert verdict == "thrown away"
    assert at == pytest.approx(20, abs=0.1)


async def test_an_ingest_that_never_ends_proves_nothing_once(scene: Scene) -> None:
    scene.ingest = INGEST
    for _ in range(2):
        scene.deliver()
        await asyncio.sleep(300)
    assert [verdict for verdict, _ in scene.givers.verdicts] == ["suspected"]


@pytest.mark.parametrize("now", [None, OngoingIngest(Began(1, 3, 9), 0)], ids=["none", "another"])
async def test_whoever_asks_again_when_that_ingest_has_ended_settles_it(
    scene: Scene, now: OngoingIngest | None
) -> None:
    scene.ingest = INGEST
    scene.deliver()
    scene.ingest = now
    await asyncio.sleep(0.5)
    await scene.aftermath.asked_again(DIGEST)
    assert scene.givers.verdicts == [("thrown away", 0.5)]


async def test_another_that_asks_while_containerd_flushes_settles_nothing(scene: Scene) -> None:
    scene.ingest = INGEST
    scene.deliver()
    await asyncio.sleep(0.5)
    await scene.aftermath.asked_again(DIGEST)
    scene.store.add(DIGEST, DATA)
    await asyncio.sleep(60)
    assert [verdict for verdict, _ in scene.givers.verdicts] == ["kept"]


async def test_who_has_gone_away_proves_nothing(scene: Scene) -> None:
    scene.deliver()
    scene.is_connected = False
    await asyncio.sleep(60)
    assert scene.givers.verdicts == []


async def test_who_has_gone_away_twice_perhaps_threw_it_away(scene: Scene) -> None:
    """Each time another layer of the image may have been wrong, too, and ended the pull."""
    scene.is_connected = False
    for _ in range(3):
        scene.deliver()
        await asyncio.sleep(60)
    assert scene.givers.verdicts == [("suspected", 65.0)]


async def test_who_has_gone_away_before_and_after_it_was_kept_proves_nothing(scene: Scene) -> None:
    scene.is_connected = False
    scene.deliver()
    await asyncio.sleep(60)
    scene.deliver()
    scene.store.add(DIGEST, DATA)
    await asyncio.sleep(60)
    scene.store.remove(DIGEST)
    scene.deliver()
    await asyncio.sleep(60)
    assert [verdict for verdict, _ in scene.givers.verdicts] == ["kept"]


async def test_whoever_asks_again_from_the_start_settles_it_at_once(scene: Scene) -> None:
    scene.deliver()
    await asyncio.sleep(0.5)
    await scene.aftermath.asked_again(DIGEST)
    assert scene.givers.verdicts == [("thrown away", 0.5)]
    await asyncio.sleep(60)
    assert len(scene.givers.verdicts) == 1


async def test_asking_again_after_a_cancelled_pull_proves_nothing(scene: Scene) -> None:
    scene.deliver()
    scene.is_connected = False
    await scene.aftermath.asked_again(DIGEST)
    await asyncio.sleep(60)
    assert scene.givers.verdicts == []


async def test_asking_again_for_what_was_kept_proves_that_it_was_right(scene: Scene) -> None:
    scene.deliver()
    scene.store.add(DIGEST, DATA)
    await scene.aftermath.asked_again(DIGEST)
    assert scene.givers.verdicts == [("kept", 0.0)]


async def test_what_was_verified_on_its_way_is_not_watched(scene: Scene) -> None:
    scene.givers.gave = False
    scene.deliver()
    await asyncio.sleep(60)
    assert scene.store.asked == []


async def test_asking_for_what_was_never_delivered_proves_nothing(scene: Scene) -> None:
    await scene.aftermath.asked_again(DIGEST)
    assert scene.givers.verdicts == []


async def test_each_delivery_has_one_verdict(scene: Scene) -> None:
    scene.deliver()
    await asyncio.sleep(0.5)
    await scene.aftermath.asked_again(DIGEST)
    scene.deliver()
    scene.store.add(DIGEST, DATA)
    await asyncio.sleep(60)
    assert [verdict for verdict, _ in scene.givers.verdicts] == ["thrown away", "kept"]


async def test_a_store_that_cannot_say_proves_nothing() -> None:
    assert await verdicts_over(FailingSource(), 60) == []
    assert await verdicts_over(SilentSource(), 60) == []
