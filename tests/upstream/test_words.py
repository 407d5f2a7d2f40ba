"""What a server gives as its reason, as it is shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.upstream.words import reason_in


def oci(*errors: object) -> bytes:
    return json.dumps({"errors": errors}).encode()


@pytest.mark.parametrize(
    ("body", "media_type", "reason"),
    [
        (oci({"code": "DENIED", "message": "no pull access"}), "application/json", "no pull access"),
        (oci({"code": "MANIFEST_UNKNOWN"}), "application/json", "MANIFEST_UNKNOWN"),
        (oci({"message": "one"}, {"message": "two"}, {"message": "three"}), "application/json", "one; two"),
        (oci({"message": "many\n\x1b[31m lines\r\n"}), None, "many [31m lines"),
        (b"404 page not found\n", "text/plain", "404 page not found"),
        (b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no such"}]}', "text/plain", "no such"),
        (b"<html>nginx</html>", "text/html", ""),
        (b'{"errors": []}', "application/json", ""),
        (b'{"errors": {}}', "application/json", ""),
        (b'{"errors": [7]}', "application/json", ""),
        (b"[" * 10_000, "application/json", ""),
        (b"", "application/json", ""),
    ],
)
def test_the_reason_of_an_error(body: bytes, media_type: str | None, reason: str) -> None:
    assert reason_in(body, media_type) == reason


def test_signatures_and_headers_are_left_out() -> None:
    said = "see https://storage.example/blob?X-Amz-Signature=secret&x=y or send Authorization: Bearer abcdefgh.secret"
    assert reason_in(oci({"message": said}), None) == (
        "see https://storage.example/blob or send Authorization: Bearer ..."
    )


@given(st.binary(), st.sampled_from(["text/plain", "application/json", None]))
def test_whatever_it_is_it_is_one_short_line(body: bytes, media_type: str | None) -> None:
    reason = reason_in(body * 50, media_type)
    assert len(reason) <= 243
    assert all(one.isprintable() for one in reason)


@given(st.text())
def test_no_message_is_longer_than_a_line(message: str) -> None:
    assert len(reason_in(oci({"message": message * 30}), None).splitlines()) <= 1
