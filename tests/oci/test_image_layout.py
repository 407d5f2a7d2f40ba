from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import (
    NAME,
    REF_NAME,
    SEEN_AT,
    IndexEntry,
    IndexText,
    entry_text,
    is_layout_file,
    parse_index,
    render_index,
)
from registryd.oci.reference import DigestedName, parse_full_name
from tests.fakes.images import helm_chart, oci_image, raw_descriptor

FIRST, SECOND = oci_image(), helm_chart()


def index_of(*entries: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def named(**annotations: object) -> dict[str, object]:
    return raw_descriptor(FIRST.target, annotations=annotations)


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({NAME: "docker.io/a:1", REF_NAME: "1"}, "docker.io/a:1"),
        ({REF_NAME: "docker.io/a:1"}, "docker.io/a:1"),
        ({NAME: "not full", REF_NAME: "docker.io/a:1"}, "docker.io/a:1"),
        ({NAME: 7, REF_NAME: "docker.io/a:1"}, "docker.io/a:1"),
        ({NAME: f"docker.io/a@{FIRST.target.digest}"}, f"docker.io/a@{FIRST.target.digest}"),
        ({NAME: f"docker.io/a:1@{FIRST.target.digest}", REF_NAME: "1"}, f"docker.io/a@{FIRST.target.digest}"),
        ({NAME: "docker.io/a@sha256:1"}, None),
        ({REF_NAME: "v1"}, None),
        ({}, None),
    ],
)
def test_names_are_full_ones(annotations: dict[str, object], name: str | None) -> None:
    [entry] = parse_index(index_of(named(**annotations)))
    assert entry == IndexEntry(FIRST.target, None if name is None else parse_full_name(name))


@pytest.mark.parametrize(
    ("text", "seen_at"),
    [("2024-01-02T03:04:05+00:00", 1704164645.0), ("1970-01-01T00:00:01Z", 1.0), ("yesterday", None), (7, None)],
)
def test_time_of_a_name(text: object, seen_at: float | None) -> None:
    [entry] = parse_index(index_of(named(**{SEEN_AT: text})))
    assert entry.seen_at == seen_at


def test_a_short_name_is_kept_for_whoever_knows_the_rest() -> None:
    entries = parse_index(index_of(named(**{REF_NAME: "v1"}), named(**{REF_NAME: str(FIRST.name)}), named()))
    assert [entry.tag for entry in entries] == ["v1", "", ""]


def test_what_is_written_is_read() -> None:
    by_digest = DigestedName(FIRST.name.repository, FIRST.target.digest)
    entries = (IndexEntry(FIRST.target, FIRST.name), IndexEntry(SECOND.target), IndexEntry(FIRST.target, by_digest))
    assert parse_index(render_index(entries)) == entries


def test_an_index_is_taken_apart_and_put_together_again() -> None:
    strange = {"schemaVersion": 2, "annotations": {"of": "another tool"}, "manifests": [named(x="y"), {"not": "one"}]}
    index = IndexText(json.dumps(strange).encode())
    texts = [text for _, text in index.entries()]
    assert json.loads(index.with_entries(texts)) == strange
    entry = IndexEntry(SECOND.target, FIRST.name, 12.5)
    assert parse_index(index.with_entries([entry_text(entry)])) == (entry,)
    assert json.loads(index.with_entries([]))["manifests"] == []


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"manifests": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_index(data)
    with pytest.raises(ManifestInvalid):
        IndexText(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"{", b'{"imageLayoutVersion": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_layout_file(data: bytes) -> None:
    assert not is_layout_file(data)


_ANY = st.recursive(
    st.none() | st.integers() | st.text() | st.just(str(Digest.of(b""))),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["mediaType", "digest", "size", "annotations", NAME, REF_NAME, SEEN_AT]), inner
        )
    ),
)


@given(
    st.lists(_ANY | st.dictionaries(st.sampled_from([NAME, REF_NAME, SEEN_AT]), st.text()).map(lambda a: named(**a)))
)
def test_any_entry_is_right_or_wrong(entries: list[object]) -> None:
    data = index_of(*entries)
    text = IndexText(data)
    wrong = [entry for entry, _ in text.entries() if isinstance(entry, ManifestInvalid)]
    if wrong:
        with pytest.raises(ManifestInvalid):
            parse_index(data)
    else:
        assert len(parse_index(data)) == len(entries)
    again = text.with_entries([each for _, each in text.entries()])
    assert json.loads(again) == json.loads(data)
