"""What a client would like besides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.platform import Platform
from registryd.serving.preferring import Preference, Whole

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm", "v7")


@pytest.mark.parametrize(
    ("header", "platforms"),
    [
        ("whole", ()),
        ('whole="linux/amd64"', (AMD,)),
        ('whole="linux/amd64,linux/arm/v7"', (AMD, ARM)),
        ('respond-async, whole="linux/amd64"', (AMD,)),
        ("whole, wait=10", ()),
    ],
)
def test_a_preference_is_read(header: str, platforms: tuple[Platform, ...]) -> None:
    assert Preference.parse(header) == Preference(platforms)


@pytest.mark.parametrize(
    "header",
    [None, "", "respond-async", "wholesome", 'whole="linux"', 'whole="linux/arm/v7/x"', 'whole="' + "a/b," * 500 + '"'],
)
def test_what_says_nothing_of_it_is_passed_over(header: str | None) -> None:
    assert Preference.parse(header) is None


@given(st.text())
def test_any_header_can_be_read(header: str) -> None:
    Preference.parse(header)


def test_what_was_done_is_said() -> None:
    assert Whole(4, 5120).applied() == "whole; pieces=4; bytes=5120"
