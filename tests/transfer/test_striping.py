"""The arithmetic of stripes, against a list of the pieces of a content."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.ranges import Span
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES, place, reach, stripe_of

# Around the ends of pieces and of rows, where mistakes are.
_NEAR = st.integers(-2, 2)
_PIECES = st.integers(0, 4 * STRIPES)
SIZES = st.one_of(
    st.integers(0, 3 * ROW_BYTES),
    st.builds(lambda pieces, more: max(0, pieces * PIECE_BYTES + more), _PIECES, _NEAR),
)
NUMBERS = st.integers(0, STRIPES - 1)


def pieces(size: int) -> list[tuple[int, int, int]]:
    """The stripe, the first byte and the end of each piece of the content."""
    ends = [*range(0, size, PIECE_BYTES), size]
    return [(number % STRIPES, start, stop) for number, (start, stop) in enumerate(pairwise(ends))]


@given(NUMBERS, SIZES)
def test_a_stripe_reaches_as_far_as_its_pieces_among_the_first_bytes(stripe: int, count: int) -> None:
    assert reach(stripe, count) == sum(stop - start for of, start, stop in pieces(count) if of == stripe)


@given(SIZES)
def test_all_stripes_together_are_the_content(count: int) -> None:
    assert sum(reach(stripe, count) for stripe in range(STRIPES)) == count


@given(SIZES)
def test_a_byte_more_is_a_byte_more_of_the_stripe_that_it_is_in(count: int) -> None:
    grown = [reach(stripe, count + 1) - reach(stripe, count) for stripe in range(STRIPES)]
    assert grown == [int(stripe == stripe_of(count)) for stripe in range(STRIPES)]


@given(NUMBERS, SIZES, st.data())
def test_a_position_of_a_stripe_is_at_one_place_up_to_the_end_of_its_piece(
    stripe: int, size: int, data: st.DataObject
) -> None:
    own = [(start, stop) for of, start, stop in pieces(size) if of == stripe]
    starts = [0, *accumulate(stop - start for start, stop in own)]
    if not own:
        assert place(stripe, 0, size).length == 0
        return
    number = data.draw(st.integers(0, len(own) - 1))
    start, stop = own[number]
    ahead = data.draw(st.integers(0, stop - start - 1))
    part = place(stripe, starts[number] + ahead, size)
    assert (part.start, part.stop) == (start + ahead, stop)


@given(NUMBERS, SIZES)
def test_from_place_to_place_a_stripe_is_gone_through_in_order_to_its_end(stripe: int, size: int) -> None:
    position, found = 0, []
    while (part := place(stripe, position, size)).length:
        found.append((part.start, part.stop))
        position += part.length
    assert position == reach(stripe, size)
    assert found == [(start, stop) for of, start, stop in pieces(size) if of == stripe]


@given(NUMBERS, SIZES, st.integers(0, 3 * ROW_BYTES))
def test_beyond_the_end_there_is_nothing(stripe: int, size: int, more: int) -> None:
    assert place(stripe, reach(stripe, size) + more, size).length == 0


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_what_is_smaller_than_a_row_leaves_stripes_empty(size: int) -> None:
    assert [reach(stripe, size) for stripe in range(2, STRIPES)] == [0] * (STRIPES - 2)
    assert [reach(0, size), reach(1, size)] == [min(size, PIECE_BYTES), max(0, size - PIECE_BYTES)]


def test_the_largest_content_is_reckoned_to_the_byte() -> None:
    size = (1 << 63) - 1
    assert sum(reach(stripe, size) for stripe in range(STRIPES)) == size
    last = stripe_of(size - 1)
    assert place(last, reach(last, size) - 1, size) == Span(size - 1, size)
