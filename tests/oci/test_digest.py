from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid

HEX = "0123456789abcdef" * 4
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_registered_algorithms_are_read_and_written(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f"sha256:{HEX}{HEX}",
        f"sha512:{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}\n",
        f"\nsha256:{HEX}",
        f" sha256:{HEX}",
        f"sha256:{HEX[:-1]}٣",
        f"sha256:{HEX[:-2]}/.",
        "sha256:" + "../" * 21 + "a",
        "sha256:" + "\0" * 64,
        f"md5:{HEX[:32]}",
        f"sha384:{HEX}{HEX[:32]}",
        f"sha256+b64:{HEX}",
        f"sha256::{HEX}",
        f"sha256@{HEX}",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


def test_error_does_not_repeat_what_is_very_long() -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse("sha256:" + "a" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(st.text() | st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,132}", fullmatch=True))
def test_a_digest_is_a_safe_file_name(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except DigestInvalid:
        return
    assert digest.algorithm in {"sha256", "sha512"}
    assert set(digest.encoded) <= set("0123456789abcdef")
    assert str(digest) == text


@given(st.binary())
def test_digest_verifies_its_bytes_and_no_others(data: bytes) -> None:
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(data, algorithm=algorithm)
        assert digest.encoded == hashlib.new(algorithm, data).hexdigest()
        assert digest.verifies(data)
        assert not digest.verifies(data + b"\0")


def test_hasher_is_fed_piece_by_piece() -> None:
    digest = Digest.of(b"one two")
    hasher = digest.hasher()
    assert not digest.matches(hasher)
    for piece in (b"one", b" ", b"two"):
        hasher.update(piece)
    assert digest.matches(hasher)


def test_empty_content_has_a_digest() -> None:
    assert Digest.of(b"").encoded == EMPTY
