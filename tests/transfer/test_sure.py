"""What of a layer is told to others while containerd receives it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from registryd.oci.digest import Digest
from registryd.transfer.sure import ALL_BYTES, SureBytes

LAYER = Digest.of(b"layer")
OTHER = Digest.of(b"other")


@dataclass
class Counted:
    """A sink of which only the count is wanted."""

    sent: int = 0


@pytest.fixture
def sure() -> SureBytes:
    sure = SureBytes()
    sure.may_come_in_chunks = True
    return sure


def give(sure: SureBytes, start: int, count: int) -> None:
    with sure.giving(LAYER, start) as given:
        given.follow(Counted(count))


@pytest.mark.parametrize(
    ("version", "may"), [("v2.4.2", True), ("2.1.0-k3s1", True), ("2.0.5", False), ("1.6.20~ds1", False), ("?", True)]
)
def test_only_a_containerd_that_can_fetch_in_chunks_is_doubted(version: str, may: bool) -> None:
    sure = SureBytes()
    sure.learn_version(version)
    assert sure.of(LAYER) == (0 if may else ALL_BYTES)


def test_what_comes_in_one_piece_is_right(sure: SureBytes) -> None:
    sure.asked(LAYER, 0, in_chunks=False)
    assert sure.of(LAYER) == ALL_BYTES
    sure.asked(LAYER, 5, in_chunks=False)
    assert sure.of(LAYER) == ALL_BYTES


def test_what_was_never_asked_for_is_as_all_else_on_this_node(sure: SureBytes) -> None:
    assert sure.of(OTHER) == 0
    sure.asked(LAYER, 0, in_chunks=False)
    assert sure.of(OTHER) == ALL_BYTES
    sure.asked(None, 0, in_chunks=True)
    assert sure.of(OTHER) == 0


def test_a_manifest_shows_it_too(sure: SureBytes) -> None:
    sure.asked(None, 0, in_chunks=True)
    sure.asked(LAYER, 700, in_chunks=False)
    assert sure.of(LAYER) == 0


def test_of_what_comes_in_chunks_only_our_bytes_are_right(sure: SureBytes) -> None:
    sure.asked(LAYER, 0, in_chunks=True)
    assert sure.of(LAYER) == 0
    with sure.giving(LAYER, 0) as given:
        assert sure.of(LAYER) == 0
        given.follow(counted := Counted())
        counted.sent = 700
        assert sure.of(LAYER) == 700
    assert sure.of(LAYER) == 700


def test_what_comes_from_elsewhere_after_ours_is_not(sure: SureBytes) -> None:
    """Our connection breaks, and what is left comes from the origin; then we give the end of it."""
    sure.asked(LAYER, 0, in_chunks=True)
    give(sure, 0, 700)
    sure.asked(LAYER, 600, in_chunks=False)  # what the kernel still had is lost
    assert sure.of(LAYER) == 600
    sure.asked(LAYER, 900, in_chunks=False)
    give(sure, 900, 100)
    assert sure.of(LAYER) == 600


def test_ours_after_ours_is(sure: SureBytes) -> None:
    sure.asked(LAYER, 0, in_chunks=True)
    give(sure, 0, 700)
    sure.asked(LAYER, 600, in_chunks=False)
    give(sure, 600, 400)
    assert sure.of(LAYER) == 1000


def test_a_response_that_containerd_has_left_counts_no_further(sure: SureBytes) -> None:
    sure.asked(LAYER, 0, in_chunks=True)
    with sure.giving(LAYER, 0) as given:
        given.follow(counted := Counted(700))
        sure.asked(LAYER, 500, in_chunks=False)
        counted.sent = 900
        assert sure.of(LAYER) == 500
    assert sure.of(LAYER) == 500


def test_beginning_again_begins_again(sure: SureBytes) -> None:
    sure.asked(LAYER, 0, in_chunks=True)
    give(sure, 0, 700)
    sure.asked(LAYER, 0, in_chunks=True)
    assert sure.of(LAYER) == 0


def test_memory_is_bounded(sure: SureBytes) -> None:
    sure.asked(None, 0, in_chunks=True)
    for number in range(11_000):
        sure.asked(Digest.of(str(number).encode()), 0, in_chunks=False)
    assert sure.of(Digest.of(b"10999")) == ALL_BYTES
    assert sure.of(Digest.of(b"0")) == 0


@pytest.mark.parametrize("seed", range(300))
def test_no_byte_from_elsewhere_is_ever_told(sure: SureBytes, seed: int) -> None:
    """A containerd that is given pieces by us, by others, and loses connections, in any order."""
    chance = random.Random(seed)
    right: list[bool] = []  # what its file has, byte by byte: from us or not
    sure.asked(None, 0, in_chunks=True)
    for _ in range(30):
        if chance.random() < 0.1:
            right = []
        start = len(right)
        sure.asked(LAYER, start, in_chunks=start == 0)
        if chance.random() < 0.5:
            taken = chance.randrange(20)
            with sure.giving(LAYER, start) as given:
                given.follow(counted := Counted())
                for _ in range(taken):
                    counted.sent += chance.randrange(1, 3)
                    right += [True] * chance.randrange(2)
                    right = right[: start + counted.sent]
                    assert all(right[: sure.of(LAYER)])
        else:
            right += [False] * chance.randrange(20)
        assert all(right[: sure.of(LAYER)])
