from __future__ import annotations

import pytest

from registryd.json_text import parse_json
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import parse_manifest

DEEP = b'{"a":' * 100_000


def test_what_is_sound_is_read() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("text", [DEEP, b"[" * 100_000, b"", b"{", b"\xff", "9" * 5000])
def test_everything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is said of it
        parse_json(text)


def test_a_manifest_that_is_nested_too_deeply_is_none() -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(DEEP)
