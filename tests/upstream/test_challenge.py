"""What a 401 asks for, from those who follow the grammar and those who don't."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from registryd.upstream.challenge import Basic, Bearer, Challenge
from registryd.upstream.challenge import parse_challenges as parse_relative_to

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"'


ASKED = URL("https://registry.example:5000/v2/demo/app/manifests/v1")


def parse_challenges(headers: list[str]) -> tuple[Challenge, ...]:
    return parse_relative_to(headers, base=ASKED)


@pytest.mark.parametrize(
    ("realm", "meant"),
    [
        ("/token", "https://registry.example:5000/token"),
        ("/token?x=y", "https://registry.example:5000/token?x=y"),
        ("token", "https://registry.example:5000/v2/demo/app/manifests/token"),
        ("//auth.example/token", "https://auth.example/token"),
        ("http://auth.example/token", "http://auth.example/token"),
    ],
)
def test_a_realm_may_be_relative_to_what_was_asked(realm: str, meant: str) -> None:
    assert parse_challenges([f'Bearer realm="{realm}"']) == (Bearer(URL(meant)),)


def test_docker_hubs_challenge() -> None:
    assert parse_challenges([HUB]) == (
        Bearer(URL("https://auth.docker.io/token"), "registry.docker.io", ("repository:library/alpine:pull",)),
    )


@pytest.mark.parametrize(
    "headers",
    [
        ['Basic realm="x", Bearer realm="https://a/t",service=s'],
        ["Basic", 'bearer REALM = "https://a/t" , Service = "s"'],
        ['Negotiate YWJj==, Basic realm="a, b \\" Bearer", Bearer realm=https://a/t,service="s"'],
        [', ,Basic realm="x",, Digest realm="d", nonce="1", Bearer service="s", realm="https://a/t"'],
    ],
)
def test_several_challenges(headers: list[str]) -> None:
    assert parse_challenges(headers) == (Basic(), Bearer(URL("https://a/t"), "s"))


def test_scopes_are_split() -> None:
    (challenge,) = parse_challenges(['Bearer realm="https://a/t",scope="repository:a:pull repository:b:pull"'])
    assert isinstance(challenge, Bearer)
    assert challenge.scopes == ("repository:a:pull", "repository:b:pull")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        'Bearer realm=""',
        'Bearer realm="file:///etc/passwd"',
        'Bearer realm="https://user:password@a/t"',
        'Bearer realm="https://a:99999999/t"',
        'Bearer realm="https://[::/t"',
        'Bearer realm="https://\u2603/t"',
        'realm="https://a/t"',
        '="x" Bearer realm="https://a/t"',
        'Bearer realm="https://a/t',
        f'Bearer realm="https://a/{"t" * 5000}"',
    ],
)
def test_what_cannot_be_answered_is_not_there(header: str) -> None:
    assert parse_challenges([header]) == ()


def test_the_first_of_equal_parameters_counts() -> None:
    assert parse_challenges(['Bearer realm="https://a/t",realm="https://b/t"']) == (Bearer(URL("https://a/t")),)


def test_no_more_than_eight_challenges() -> None:
    assert len(parse_challenges(["Basic, " * 500] * 5)) == 8


@pytest.mark.parametrize("unit", ['a="', "a=", "a ", "a,", '"', "\\", "Basic a=", '="\\', "a\t"])
def test_hostile_headers_take_no_time(unit: str) -> None:
    begun = time.process_time()
    parse_challenges([unit * 1_000_000])
    # 8 KiB are looked at; quadratic behaviour would take minutes.
    assert time.process_time() - begun < 5


@given(st.lists(st.text(max_size=300), max_size=5))
def test_anything_is_read_without_failing(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert isinstance(challenge, Basic) or challenge.realm.host


_PARTS = st.sampled_from(["Bearer", "Basic", " ", ",", "=", '"', "\\", "realm", "https://a/t", "scope", "x:y", "\t"])


@given(st.lists(_PARTS, max_size=40).map("".join))
def test_almost_challenges_are_read_without_failing(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert isinstance(challenge, Basic) or challenge.realm.scheme == "https"


_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(_VALUES, st.lists(_VALUES.filter(lambda text: text and " " not in text), max_size=3))
def test_what_is_quoted_comes_out_again(service: str, scopes: list[str]) -> None:
    header = f'Bearer realm="https://a/t", service={_quoted(service)}, scope={_quoted(" ".join(scopes))}'
    assert parse_challenges([header]) == (Bearer(URL("https://a/t"), service, tuple(scopes)),)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
