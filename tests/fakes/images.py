"""Images made of a few bytes: what the stores under test are filled with, and what they must say about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from registryd.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@dataclass(frozen=True)
class SampleImage:
    """Something that can be put into a store: what the name means, and every piece of content with its media type.

    `absent` is referred to but not there, like the other platforms of an index after a pull.
    """

    name: TaggedName
    target: Descriptor
    blobs: Mapping[Digest, bytes]
    media_types: Mapping[Digest, str]
    absent: frozenset[Digest] = field(default_factory=frozenset)

    @property
    def manifest(self) -> bytes:
        return self.blobs[self.target.digest]

    def digest_of(self, media_type: str) -> Digest:
        """The first content of that type."""
        return next(digest for digest in self.blobs if self.media_types[digest] == media_type)


def sample_bytes(size: int, *, seed: int = 0) -> bytes:
    """Bytes that are different at every offset that a test might confuse, and for every seed."""
    return b"".join(Digest.of(b"%d/%d" % (seed, block)).encoded.encode() for block in range(size // 64 + 1))[:size]


def oci_image(
    name: str = "registry.example/demo/app:v1", *, layers: tuple[bytes, ...] = (b"layer one", b"layer two")
) -> SampleImage:
    return _image(name, layers, types=(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER))


def docker_image(name: str = "registry.example/demo/docker:v1") -> SampleImage:
    return _image(name, (b"docker layer",), types=(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER))


def helm_chart(name: str = "registry.example/charts/app:1.0.0") -> SampleImage:
    """An artifact: a manifest whose config and layer have types of their own."""
    return _image(name, (b"a chart",), types=(OCI_MANIFEST, HELM_CONFIG, HELM_CHART))


def oci_index(name: str = "registry.example/demo/multi:v1", *, docker: bool = False) -> SampleImage:
    """Two platforms, of which only the first is there."""
    make = docker_image if docker else oci_image
    here = make()
    elsewhere = oci_image(layers=(b"of another platform",))
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else OCI_INDEX,
        "manifests": [raw_descriptor(here.target), raw_descriptor(elsewhere.target)],
    }
    data, target = document_of(document)
    return SampleImage(
        name=TaggedName.parse(name),
        target=target,
        blobs={target.digest: data, **here.blobs},
        media_types={target.digest: target.media_type, **here.media_types},
        absent=frozenset({elsewhere.target.digest}),
    )


def raw_descriptor(descriptor: Descriptor, **more: object) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        **more,
    }


def document_of(document: dict[str, Any], *, media_type: str | None = None) -> tuple[bytes, Descriptor]:
    """The bytes of a manifest or index, and the descriptor that refers to them."""
    data = json.dumps(document).encode()
    return data, Descriptor(media_type or document["mediaType"], Digest.of(data), len(data))


def _image(name: str, layers: tuple[bytes, ...], *, types: tuple[str, str, str]) -> SampleImage:
    manifest_type, config_type, layer_type = types
    # The author keeps configs of different types from being the same content.
    config = json.dumps(
        {
            "architecture": "amd64",
            "author": config_type,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    children = [Descriptor(config_type, Digest.of(config), len(config))]
    children += [Descriptor(layer_type, Digest.of(layer), len(layer)) for layer in layers]
    data, target = document_of(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": raw_descriptor(children[0]),
            "layers": [raw_descriptor(child) for child in children[1:]],
        }
    )
    return SampleImage(
        name=TaggedName.parse(name),
        target=target,
        blobs={target.digest: data, **{c.digest: d for c, d in zip(children, (config, *layers), strict=True)}},
        media_types={target.digest: manifest_type, **{child.digest: child.media_type for child in children}},
    )


def signature_of(
    subject: SampleImage, *, kind: str = "application/vnd.example.signature", text: str = ""
) -> SampleImage:
    """An artifact that is attached to the subject."""
    payload = f"signature of {subject.target.digest}{text}".encode()
    config, layer = b"{}", Descriptor(kind, Digest.of(payload), len(payload))
    empty = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(config), len(config))
    data, target = document_of(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": raw_descriptor(empty),
            "layers": [raw_descriptor(layer)],
            "subject": raw_descriptor(subject.target),
            "annotations": {"org.example.key": "1"},
        }
    )
    return SampleImage(
        name=subject.name,
        target=target,
        blobs={target.digest: data, empty.digest: config, layer.digest: payload},
        media_types={target.digest: OCI_MANIFEST, empty.digest: empty.media_type, layer.digest: kind},
    )
