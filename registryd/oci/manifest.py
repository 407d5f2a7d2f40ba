"""Manifests and indexes: what kind of document it is and what it refers to.

Serves two questions only: the media type with which a manifest is to be answered, and the media types of the
content that it refers to. Whether an image can run is containerd's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from registryd.oci.descriptor import (
    IMAGE_MANIFEST_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from registryd.oci.digest import Digest
from registryd.oci.documents import load_json
from registryd.oci.errors import ManifestInvalid, OciError

# Registries must accept manifests of 4 MiB and may take larger ones (distribution-spec, "Pushing manifests").
# containerd takes 4,393,216 bytes of what it resolves (its MaxManifestSize), and any number of what an index leads to:
# here it is twice what must be.
MAX_MANIFEST_SIZE: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: its own media type and its children in document order.

    `subject` is what the document is attached to (a signature's image); it is not part of its content.
    """

    media_type: str
    children: tuple[Descriptor, ...]
    subject: Descriptor | None = None


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest or index of the OCI and Docker formats; raises ManifestInvalid for anything else.

    The media type is the document's own `mediaType`, which its digest covers, whoever refers to it. OCI documents
    may leave it out: then the shape tells, an index having `manifests`, a manifest `config` and `layers`
    (image-spec, manifest.md and image-index.md). A document whose type and shape disagree is refused.
    """
    document = _load(data)
    is_index = isinstance(document.get("manifests"), list)
    is_image = isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list)
    if is_index == is_image:
        # Both at once is how a manifest pretends to be two things (CVE-2021-41190); containerd refuses it as well.
        raise ManifestInvalid("neither an image manifest nor an index")
    own_type = document.get("mediaType", OCI_INDEX if is_index else OCI_MANIFEST)
    if not isinstance(own_type, str) or own_type not in (INDEX_TYPES if is_index else IMAGE_MANIFEST_TYPES):
        raise ManifestInvalid("mediaType is not that of a manifest of this shape")
    raw = document["manifests"] if is_index else [document["config"], *document["layers"]]
    subject = document.get("subject")
    return Manifest(
        media_type=own_type,
        children=tuple(parse_descriptor(child) for child in raw),
        subject=None if subject is None else parse_descriptor(subject),
    )


def parse_descriptor(raw: object) -> Descriptor:
    """Read one descriptor of a document that has been loaded; raises ManifestInvalid."""
    if not isinstance(raw, dict):
        raise ManifestInvalid("a descriptor is not an object")
    media_type, digest, size = raw.get("mediaType"), raw.get("digest"), raw.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or type(size) is not int:
        raise ManifestInvalid("a descriptor lacks mediaType, digest or size")
    try:
        return Descriptor(media_type, Digest.parse(digest), size)
    except OciError as error:
        raise ManifestInvalid(f"a descriptor is wrong: {error}") from error


def is_manifest_type(media_type: str | None) -> bool:
    """Whether content of this media type refers to other content, so that it is served below /manifests/."""
    return media_type in MANIFEST_TYPES


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_SIZE:
        raise ManifestInvalid(f"{len(data)} bytes are more than the {MAX_MANIFEST_SIZE} that a manifest may have")
    document = load_json(data)
    if not isinstance(document, dict):
        raise ManifestInvalid("not a JSON object")
    return document
