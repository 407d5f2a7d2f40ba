"""Lists of what is attached to an image."""

from __future__ import annotations

import json

import pytest

from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import parse_manifest
from registryd.oci.reference import Tag
from registryd.oci.referrers import (
    EMPTY,
    attached_tags,
    is_referrers_tag,
    parse_referrers,
    referrer_entry,
    referrers_tag,
    render_referrers,
)
from tests.fakes.images import helm_chart, oci_image, raw_descriptor, signature_of

SUBJECT = Digest.of(b"subject")


def test_the_tag_follows_from_the_digest() -> None:
    assert referrers_tag(SUBJECT) == Tag(f"sha256-{SUBJECT.encoded}")
    long = Digest.of(b"subject", algorithm="sha512")
    assert referrers_tag(long) == Tag(f"sha512-{long.encoded[:64]}")
    assert is_referrers_tag(referrers_tag(SUBJECT))
    assert is_referrers_tag(referrers_tag(long))


@pytest.mark.parametrize("tag", ["latest", f"sha256-{SUBJECT.encoded}.sig", "sha256-12", f"sha1-{SUBJECT.encoded}"])
def test_other_tags_are_no_lists(tag: str) -> None:
    assert not is_referrers_tag(Tag(tag))


def test_cosigns_tags() -> None:
    tags = [f"sha256-{SUBJECT.encoded}{suffix}" for suffix in (".sig", ".att", ".sbom")]
    assert [tag.name for tag in attached_tags(SUBJECT)] == tags
    assert list(attached_tags(Digest.of(b"subject", algorithm="sha512"))) == []


def test_a_list_is_the_same_whatever_the_order_and_has_everything_once() -> None:
    image = oci_image()
    entries = [raw_descriptor(signature_of(image, text=str(n)).target) for n in range(3)]
    data = render_referrers([*entries, entries[0]])
    assert data == render_referrers(reversed(entries))
    assert sorted(map(str, entries)) == sorted(map(str, parse_referrers(data)))
    assert parse_manifest(data).children
    assert parse_referrers(EMPTY) == []


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", oci_image().manifest])
def test_what_is_no_list(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_referrers(data)


def test_an_entry_says_what_the_manifest_is() -> None:
    signature = signature_of(oci_image())
    entry = referrer_entry(signature.target, signature.manifest)
    assert entry == raw_descriptor(
        signature.target, artifactType="application/vnd.example.signature", annotations={"org.example.key": "1"}
    )


def test_what_has_no_artifact_type_is_of_that_of_its_config() -> None:
    chart = helm_chart()
    entry = referrer_entry(chart.target, chart.manifest)
    assert entry["artifactType"] == json.loads(chart.manifest)["config"]["mediaType"]
