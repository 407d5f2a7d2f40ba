"""What an answer costs containerd, and what happens when it gives none or a wrong one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import StoreKind, StoreSettings
from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import TaggedName
from registryd.store.choice import Choice, open_store
from tests.fakes.containerd_faults import LATE_SECONDS, Fault
from tests.fakes.images import oci_image
from tests.store.containerd.conftest import HASTY, PROMPT, Connect, eventually

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd

NAME = TaggedName.parse("registry.example/demo/app:v1")
UNKNOWN = Digest.of(b"nobody has this")


async def test_a_miss_costs_containerd_nothing(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.put_blob(b"something")
    async with connect() as store:
        containerd.calls.clear()
        for _ in range(10):
            with pytest.raises(ContentNotFound):
                await store.find(UNKNOWN)
        assert not containerd.calls


async def test_find_and_open_cost_one_question(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    containerd.put(image)
    async with connect() as store:
        containerd.calls.clear()
        await store.find(image.target.digest)
        for _ in range(10):
            await (await store.open(image.target.digest, Span.whole)).body.aclose()
        assert containerd.calls == {"Info": 1}


async def test_the_first_content_makes_misses_cost_nothing(containerd: FakeContainerd, connect: Connect) -> None:
    async with connect() as store:
        digest = containerd.put_blob(b"something")
        await store.find(digest)
        containerd.calls.clear()
        for _ in range(10):
            with pytest.raises(ContentNotFound):
                await store.find(UNKNOWN)
        assert not containerd.calls


@pytest.mark.parametrize("fault", [Fault.REFUSING, Fault.GARBAGE, Fault.OTHER_DIGEST, Fault.NEGATIVE_SIZE])
async def test_a_bad_answer_is_no_answer(containerd: FakeContainerd, connect: Connect, fault: Fault) -> None:
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        containerd.fault = fault
        with pytest.raises(StoreUnavailable) as caught:
            await store.find(digest)
        assert len(str(caught.value)) < 300


async def test_a_file_of_another_size_is_not_sent(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        containerd.fault = Fault.WRONG_SIZE
        with pytest.raises(StoreUnavailable, match="has 9 bytes instead of 10"):
            await store.open(digest, Span.whole)


async def test_silence_is_bounded(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(b"something")
    async with connect(timing=HASTY) as store:
        containerd.fault = Fault.SILENT
        begun_at = asyncio.get_running_loop().time()
        for question in (store.find(digest), store.open(digest, Span.whole), store.check()):
            with pytest.raises(StoreUnavailable, match="did not answer within"):
                await question
        assert asyncio.get_running_loop().time() - begun_at < 3 * HASTY.answer + 5


@pytest.mark.parametrize(("search_seconds", "is_found"), [(LATE_SECONDS, False), (300 * LATE_SECONDS, True)])
async def test_who_gives_a_search_more_time_gives_a_busy_containerd_more(
    containerd: FakeContainerd, *, search_seconds: float, is_found: bool
) -> None:
    digest = containerd.put_blob(b"something")
    choice = Choice(StoreKind.CONTAINERD, containerd.socket)
    async with open_store(StoreSettings(keep_layers=0), choice, search_seconds=search_seconds) as store:
        containerd.fault = Fault.LATE
        if is_found:
            assert (await store.find(digest)).size == len(b"something")
        else:
            with pytest.raises(StoreUnavailable, match="did not answer within"):
                await store.find(digest)


async def test_what_is_asked_in_the_background_waits_for_a_busy_containerd(
    containerd: FakeContainerd, connect: Connect
) -> None:
    digest = containerd.put_blob(b"something")
    async with connect(timing=PROMPT) as store:
        containerd.fault = Fault.LATE
        assert (await store.newcomers.whence(digest)).size == len(b"something")


async def test_a_question_can_be_cancelled(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        containerd.fault = Fault.SILENT
        asked = containerd.calls["Info"]
        asking = asyncio.create_task(store.find(digest))
        await eventually(lambda: containerd.calls["Info"] > asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        containerd.fault = Fault.NONE
        assert (await store.find(digest)).size == 9


async def test_containerd_is_away_from_the_beginning(containerd: FakeContainerd, connect: Connect) -> None:
    await containerd.stop()
    async with connect(ready=False) as store:
        begun_at = asyncio.get_running_loop().time()
        for question in (store.find(UNKNOWN), store.open(UNKNOWN, Span.whole), store.resolve(NAME), store.check()):
            with pytest.raises(StoreUnavailable):
                await question
        assert asyncio.get_running_loop().time() - begun_at < 10  # at once: an answer has 20 s
        # gRPC's own text says less to operators, in more words.
        with pytest.raises(StoreUnavailable, match=r"^containerd cannot be reached at its socket: does it run"):
            await store.find(UNKNOWN)


async def test_names_stay_known_while_containerd_is_away(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image(str(NAME))
    containerd.put(image)
    async with connect() as store:
        await containerd.stop()
        assert [named.target for named in await store.resolve(NAME)] == [image.target]
        with pytest.raises(StoreUnavailable):
            await store.find(image.target.digest)


async def test_closing_ends_what_is_under_way_without_cancelling_anyone(
    containerd: FakeContainerd, connect: Connect
) -> None:
    digest = containerd.put_blob(b"something")
    async with connect() as store:
        containerd.fault = Fault.SILENT
        asked = containerd.calls["Info"]
        asking = asyncio.create_task(store.find(digest))
        await eventually(lambda: containerd.calls["Info"] > asked)
    with pytest.raises(StoreUnavailable, match="was closed"):
        await asking
    with pytest.raises(StoreUnavailable, match="is closed"):
        await store.find(digest)
