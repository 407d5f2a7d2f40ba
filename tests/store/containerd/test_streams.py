"""Bytes through containerd's API: how a stream ends, well or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from tests.fakes.containerd_faults import Fault
from tests.fakes.images import sample_bytes
from tests.fakes.sinks import FakeSink
from tests.store.containerd.conftest import HASTY, Connect, eventually

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd

DATA = sample_bytes(500_000)
FIRST_MESSAGE = 64 * 1024


@pytest.fixture(autouse=True)
def _no_files(containerd: FakeContainerd) -> None:
    containerd.told_root = None


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault.SHORT_READ, "bytes early"),
        (Fault.BROKEN_READ, "UNKNOWN: input/output error"),
        (Fault.STALLED_READ, "sent nothing for 1.0 s"),
    ],
)
async def test_a_stream_that_breaks_leaves_what_came(
    containerd: FakeContainerd, connect: Connect, fault: Fault, why: str
) -> None:
    digest = containerd.put_blob(DATA)
    async with connect(timing=HASTY) as store:
        containerd.fault = fault
        opened, sink = await store.open(digest, Span.whole), FakeSink()
        with pytest.raises(SourceBroken, match=why):
            await opened.body.send_to(sink)
        await opened.body.aclose()
        assert sink.data == DATA[:FIRST_MESSAGE]


async def test_containerd_dies_while_sending(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(DATA)
    async with connect() as store:
        containerd.fault = Fault.STALLED_READ
        opened, sink = await store.open(digest, Span.whole), FakeSink()
        sending = asyncio.create_task(opened.body.send_to(sink))
        await eventually(lambda: sink.sent == FIRST_MESSAGE)
        await containerd.stop()
        with pytest.raises(SourceBroken):
            await sending
        await opened.body.aclose()


async def test_a_body_that_is_not_sent_ends_its_call(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(DATA)
    async with connect() as store:
        containerd.fault = Fault.STALLED_READ
        opened = await store.open(digest, Span.whole)
        await eventually(lambda: containerd.reads_under_way == 1)  # that which looked for a manifest has ended
        await opened.body.aclose()
        await eventually(lambda: containerd.reads_under_way == 0)


async def test_what_cannot_be_begun_is_not_opened(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(DATA)
    async with connect() as store:
        await store.find(digest)  # looked at, and known to be here for a moment
        for fault in (Fault.REFUSING, Fault.EMPTY_READ):
            containerd.fault = fault
            with pytest.raises(StoreUnavailable):
                await store.open(digest, Span.whole)
        containerd.fault = Fault.NONE
        containerd.drop_blob(digest)
        with pytest.raises(ContentNotFound):
            await store.open(digest, Span.whole)


async def test_an_empty_blob_is_opened(containerd: FakeContainerd, connect: Connect) -> None:
    digest = containerd.put_blob(b"")
    async with connect() as store:
        opened, sink = await store.open(digest, Span.whole), FakeSink()
        await opened.body.send_to(sink)
        assert (opened.content.size, opened.body.length, sink.sent) == (0, 0, 0)
