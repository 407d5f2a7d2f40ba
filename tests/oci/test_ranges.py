from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import RangeRequest, Span


def span_of(header: str, size: int) -> Span:
    wanted = RangeRequest.parse(header)
    assert wanted is not None
    return wanted.span(size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", Span(0, 100)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-99", Span(0, 100)),
        ("bytes=0-100", Span(0, 100)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=-1", Span(99, 100)),
        ("bytes=-100", Span(0, 100)),
        ("bytes=-101", Span(0, 100)),
        ("bytes=5-999999999999999999", Span(5, 100)),
        ("BYTES=5-", Span(5, 100)),
        ("bytes= 5-9", Span(5, 10)),
        ("bytes=5-9 ", Span(5, 10)),
        ("bytes=\t5-9", Span(5, 10)),
    ],
)
def test_range_is_a_span(header: str, expected: Span) -> None:
    assert span_of(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999999999999-"])
def test_range_outside_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeInvalid) as caught:
        span_of(header, 100)
    assert caught.value.size == 100


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_no_range_is_in_empty_content(header: str) -> None:
    with pytest.raises(RangeInvalid):
        span_of(header, 0)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=0-1,3-4",
        "bytes=0-1;",
        "bytes=-1-2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1.0-2",
        "bytes=0x1-2",
        "bytes=1-2-3",
        "bytes=1 2-3",
        "by tes=1-2",
        "items=0-1",
        "bytes=٣-",
        "bytes=0-\n",
        "bytes=1234567890123456789012-",
    ],
)
def test_what_a_server_may_ignore_is_ignored(header: str | None) -> None:
    assert RangeRequest.parse(header) is None


@pytest.mark.parametrize(
    ("header", "expected"), [("bytes=0-", True), ("bytes=0-9", False), ("bytes=1-", False), ("bytes=-5", False)]
)
def test_range_that_asks_for_all(header: str, *, expected: bool) -> None:
    wanted = RangeRequest.parse(header)
    assert wanted is not None
    assert wanted.asks_for_all is expected


@given(st.text() | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 10**12))
def test_a_span_is_never_empty_and_never_outside(header: str, size: int) -> None:
    wanted = RangeRequest.parse(header)
    if wanted is None:
        return
    try:
        span = wanted.span(size)
    except RangeInvalid:
        return
    assert 0 <= span.start < span.stop <= size
    assert span.content_range(size) == f"bytes {span.start}-{span.stop - 1}/{size}"


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (6, 5)])
def test_backward_span_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a span"):
        Span(start, stop)


def test_rest_of_a_span() -> None:
    assert Span(10, 20).after(4) == Span(14, 20)
    assert Span(10, 20).after(10).length == 0
    with pytest.raises(ValueError, match="not a span"):
        Span(10, 20).after(11)
