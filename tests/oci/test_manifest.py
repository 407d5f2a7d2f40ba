from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, is_media_type
from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, Manifest, is_manifest_type, parse_descriptor, parse_manifest

CONFIG = Descriptor("application/vnd.example.config+json", Digest.of(b"config"), 6)
LAYER = Descriptor("application/vnd.example.layer.v1.tar+gzip", Digest.of(b"layer"), 5)


def raw(descriptor: Descriptor, **more: object) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        **more,
    }


def image(**more: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": raw(CONFIG), "layers": [raw(LAYER)], **more}


def index(**more: object) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": [raw(LAYER)], **more}


def parse(document: object) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


# ---- what is understood


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (image(), OCI_MANIFEST),
        (index(), OCI_INDEX),
        (image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (index(mediaType=DOCKER_LIST), DOCKER_LIST),
    ],
)
def test_media_type_is_the_documents_own_or_told_by_its_shape(document: dict[str, Any], media_type: str) -> None:
    assert parse(document).media_type == media_type


def test_children_in_order() -> None:
    assert parse(image()).children == (CONFIG, LAYER)
    assert parse(index()).children == (LAYER,)
    assert parse(index(manifests=[])).children == ()


def test_subject_is_not_a_child() -> None:
    manifest = parse(image(subject=raw(LAYER), layers=[]))
    assert manifest.subject == LAYER
    assert manifest.children == (CONFIG,)


def test_what_descriptors_may_carry_besides_is_passed_over() -> None:
    extra = raw(LAYER, platform={"os": "linux"}, urls=["https://example"], annotations={"a": "b"}, data="bGF5ZXI=")
    assert parse(index(manifests=[extra])).children == (LAYER,)


# ---- what is refused


@pytest.mark.parametrize(
    "document",
    [
        None,
        0,
        "x",
        [],
        {},
        {"schemaVersion": 2},
        {"config": raw(CONFIG)},
        {"layers": []},
        {"config": [], "layers": {}},
        {"manifests": {}},
        image(manifests=[]),  # two documents in one
        image(mediaType=None),
        image(mediaType=7),
        image(mediaType="text"),
        image(mediaType="application/vnd.example.artifact.v1+json"),
        image(mediaType=OCI_INDEX),
        index(mediaType=DOCKER_MANIFEST),
        image(mediaType="text/html; charset=utf-8"),
        image(mediaType="a/b\r\nX-Evil: yes"),
        image(config={}),
        image(layers=[None]),
        image(layers=[raw(LAYER) | {"size": -1}]),
        image(layers=[raw(LAYER) | {"size": 1.0}]),
        image(layers=[raw(LAYER) | {"size": True}]),
        image(layers=[raw(LAYER) | {"size": "1"}]),
        image(layers=[raw(LAYER) | {"size": 2**63}]),
        image(layers=[raw(LAYER) | {"digest": "sha256:../../../etc/passwd"}]),
        image(layers=[raw(LAYER) | {"digest": None}]),
        image(layers=[raw(LAYER) | {"mediaType": ""}]),
        image(subject="x"),
        # What an image's config looks like, which is JSON as well.
        {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"diff_ids": []}},
        # Docker's schema 1, which has no digests of its own.
        {"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []},
    ],
)
def test_everything_else_is_refused(document: object) -> None:
    with pytest.raises(ManifestInvalid):
        parse(document)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"\x1f\x8b\x08",
        b"{",
        b"[" * 200_000,
        b'{"manifests": ' + b"[" * 100_000,
        b'{"manifests": [], "x": ' + b"9" * 10_000 + b"}",
        b'{"manifests": []}' + b" " * MAX_MANIFEST_SIZE,
    ],
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([raw(LAYER), OCI_INDEX]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "manifests", "config", "layers", "subject", "digest", "size"]) | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@given(_JSON | st.fixed_dictionaries({"manifests": st.lists(_JSON)}))
def test_any_json_is_a_manifest_or_refused(document: object) -> None:
    try:
        manifest = parse(document)
    except ManifestInvalid:
        return
    assert is_media_type(manifest.media_type)
    assert all(0 <= child.size < 2**63 for child in manifest.children)


@given(st.binary())
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(data)


@given(_JSON)
def test_any_json_is_a_descriptor_or_refused(document: object) -> None:
    try:
        assert is_media_type(parse_descriptor(document).media_type)
    except ManifestInvalid:
        return


# ---- media types


@pytest.mark.parametrize("text", ["a/b", "application/vnd.oci.image.index.v1+json", "x/" + "y" * 127])
def test_media_types(text: str) -> None:
    assert is_media_type(text)


@pytest.mark.parametrize(
    "text", ["", "a", "/", "a/", "/b", "a/b/c", "a/b\n", "a /b", "a/b;c=d", "a/ü", "x/" + "y" * 128]
)
def test_what_is_no_media_type(text: str) -> None:
    assert not is_media_type(text)


def test_which_types_refer_to_other_content() -> None:
    assert all(map(is_manifest_type, [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST]))
    assert not any(map(is_manifest_type, [None, "", "application/octet-stream", LAYER.media_type]))
