"""Addresses that others wrote are read strictly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from registryd.upstream.addresses import parse_address, resolve_address

BASE = URL("https://registry.example/v2/demo/app/blobs/x")


@pytest.mark.parametrize(
    "text",
    [
        "https://auth.docker.io/token",
        "HTTP://my_registry:5000",
        "https://xn--bcher-kva.example./",
        "https://[fd00::1]:5000/v2/",
        "https://cdn.example/a%2Fb?Signature=a%2Bb%3D&X=%7e#fragment",
    ],
)
def test_addresses_are_kept_as_they_were_quoted(text: str) -> None:
    assert str(parse_address(text)).lower() == text.partition("#")[0].lower().replace(":5000", ":5000", 1)
    assert resolve_address(BASE, text) == parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//a/",
        "a/b",
        "ftp://a/",
        "https:a",
        "https://",
        "https://u:p@a/",
        "https://a b/",
        "https://a..b/",
        "https://.a/",
        "https://-a/",
        f"https://{'a' * 64}/",
        f"https://{'a.' * 128}/",
        "https://b\u00fccher/",
        "https://a/\u2603",
        "https://a\\@b/",
        "https://%61/",
        "https://xn--a/",
        "https://a:0/",
        "https://a:65536/",
        "https://[::/",
        "https://[1::2::3]/",
        "https://[fe80::1%25eth0]/",
        "https://a/\r\nX: y",
        "0://[]@",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected http"):
        parse_address(text)


def test_a_path_stays_on_the_server() -> None:
    assert resolve_address(BASE, "/b?c=%2F#d") == URL("https://registry.example/b?c=%2F", encoded=True)
    for text in ("/\\other.example", "b", "b/c:d", "./b:c", "../../b?c=//other.example", "?c", "@other.example", ""):
        try:
            resolved = resolve_address(BASE, text)
        except ValueError:
            continue
        assert resolved.origin() == BASE.origin()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("y", "https://registry.example/v2/demo/app/blobs/y"),
        ("../y?sig=a%2Fb", "https://registry.example/v2/demo/app/y?sig=a%2Fb"),
        ("?sig=" + "a" * 3000, "https://registry.example/v2/demo/app/blobs/x?sig=" + "a" * 3000),
        ("//cdn.example/y", "https://cdn.example/y"),
        ("//cdn.example:8443/y?a b", "https://cdn.example:8443/y?a%20b"),
        ("https://cdn.example/y?sig=a b", "https://cdn.example/y?sig=a%20b"),
        (" /y ", "https://registry.example/y"),
    ],
)
def test_what_is_relative_is_resolved_as_gos_client_does(text: str, meant: str) -> None:
    assert resolve_address(BASE, text) == URL(meant, encoded=True)


@pytest.mark.parametrize("text", ["///other.example", "//", "//u:p@other.example/", "//a..b/", "a:b", "javascript:x"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected http"):
        resolve_address(BASE, text)


_PARTS = st.sampled_from(
    [
        *("http", "https", "://", ":", "//", "/", "@", "[", "]", "::1", "a", "b.c", "%", "%00", "xn--", "?", "#"),
        *("..", "-", ":80", ":99999", "\x00", " ", "\udc80", "\u2603", "127.1", "\\"),
    ]
)


@given(st.lists(_PARTS, max_size=12).map("".join), st.sampled_from(["", "https://", "https://a", "/"]))
def test_anything_is_an_address_or_a_value_error(rest: str, start: str) -> None:
    try:
        address = resolve_address(BASE, start + rest)
    except ValueError:
        return
    assert address.host
    assert address.port
    assert address.user is None
    assert str(address.origin()).isascii()
