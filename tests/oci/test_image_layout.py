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
    Entry,
    LayoutIndex,
    is_layout_file,
    parse_index,
    render_index,
    with_names,
)
from registryd.oci.reference import TaggedName
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
        ({REF_NAME: "v1"}, None),
        ({}, None),
    ],
)
def test_names_are_full_ones(annotations: dict[str, object], name: str | None) -> None:
    [entry] = parse_index(index_of(named(**annotations))).entries
    assert entry == Entry(FIRST.target, None if name is None else TaggedName.parse(name))


@pytest.mark.parametrize(
    ("text", "seen_at"),
    [("2024-01-02T03:04:05+00:00", 1704164645.0), ("1970-01-01T00:00:01Z", 1.0), ("yesterday", None), (7, None)],
)
def test_time_of_a_name(text: object, seen_at: float | None) -> None:
    [entry] = parse_index(index_of(named(**{SEEN_AT: text}))).entries
    assert entry.seen_at == seen_at


def test_names_replace_their_former_meaning_only() -> None:
    before = render_index([Entry(FIRST.target, FIRST.name), Entry(FIRST.target)])
    after = parse_index(with_names(before, {FIRST.name: SECOND.target}, seen_at=12.5))
    assert set(after.entries) == {Entry(FIRST.target), Entry(SECOND.target, FIRST.name, 12.5)}


def test_what_is_written_is_read() -> None:
    entries = (Entry(FIRST.target, FIRST.name), Entry(SECOND.target))
    assert parse_index(render_index(entries)) == LayoutIndex(entries)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"manifests": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_index(data)
    with pytest.raises(ManifestInvalid):
        with_names(data, {FIRST.name: FIRST.target}, seen_at=None)


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
    index = parse_index(index_of(*entries))
    assert len(index.entries) + len(index.wrong) == len(entries)
    with_names(index_of(*entries), {FIRST.name: FIRST.target}, seen_at=0.0)
