"""Bodies on their way are seen, and remembered for a while; what they were is never lost half-way."""

from __future__ import annotations

from contextlib import suppress

import pytest

from registryd.content.source import Content, OpenContent
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.serving.transfers import Transfers
from registryd.transfer.body import BytesBody
from registryd.transfer.memory import MemorySink

CONTENT = Content(Digest.of(b"x"), 10, None)
OPENED = OpenContent(CONTENT, Span.whole(10), BytesBody(bytes(10)))


async def test_a_transfer_is_seen_while_it_runs_and_afterwards() -> None:
    transfers = Transfers()
    sink = MemorySink()
    with transfers.transfer(OPENED, name="n", source="peer", receiver="containerd") as transfer:
        transfer.follow(sink)
        await sink.write(b"12345")
        (seen,) = transfers.running()
        assert (seen.sent_bytes, seen.outcome, len(transfers)) == (5, "running", 1)
        await sink.write(b"67890")
        transfer.outcome = "done"
    (ended,) = transfers.recent()
    assert (ended.sent_bytes, ended.outcome, ended.sink) == (10, "done", None)
    assert len(transfers) == 0


def test_its_size_is_that_of_the_bytes_that_were_asked_for() -> None:
    transfers = Transfers()
    part = OpenContent(CONTENT, Span(4, 7), BytesBody(b"xyz"))
    with transfers.transfer(part, name="n", source="local", receiver="10.0.0.2") as transfer:
        assert (transfer.size, transfer.digest) == (3, str(CONTENT.digest))


def test_one_that_is_broken_off_was_cancelled() -> None:
    transfers = Transfers()
    with pytest.raises(KeyError), transfers.transfer(OPENED, name="n", source="local", receiver="10.0.0.2"):
        raise KeyError
    assert [transfer.outcome for transfer in transfers.recent()] == ["cancelled"]


async def test_one_whose_receiver_left_with_all_of_it_is_done() -> None:
    transfers = Transfers()
    sink = MemorySink()
    await sink.write(bytes(10))
    with suppress(KeyError), transfers.transfer(OPENED, name="n", source="peer", receiver="containerd") as one:
        one.follow(sink)
        raise KeyError
    assert [transfer.outcome for transfer in transfers.recent()] == ["done"]


def test_only_so_many_are_remembered_the_latest_first() -> None:
    transfers = Transfers()
    for number in range(150):
        with transfers.transfer(OPENED, name=str(number), source="local", receiver="containerd"):
            pass
    recent = transfers.recent()
    assert (len(recent), recent[0].name, recent[-1].name) == (100, "149", "50")
