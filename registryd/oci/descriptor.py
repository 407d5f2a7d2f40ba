"""Descriptors and media types (image-spec, descriptor.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.oci.errors import ManifestInvalid

if TYPE_CHECKING:
    from registryd.oci.digest import Digest

# RFC 6838 section 4.2, the grammar that descriptor.md refers to; no parameters.
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE: Final = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
OCTET_STREAM: Final = "application/octet-stream"

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
IMAGE_MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
MANIFEST_TYPES: Final = INDEX_TYPES | IMAGE_MANIFEST_TYPES

# A size is an int64 (image-spec, descriptor.md), in gRPC messages and in files as well.
MAX_SIZE: Final = 2**63 - 1


def is_media_type(text: str) -> bool:
    """Whether this may stand in a Content-Type header and in a descriptor."""
    return _MEDIA_TYPE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: its media type, digest and size in bytes.

    Raises ManifestInvalid for a text that is no media type, or a size that no content has.
    """

    media_type: str
    digest: Digest
    size: int

    def __post_init__(self) -> None:
        if not is_media_type(self.media_type):
            raise ManifestInvalid(f"{self.media_type[:100]!r} is not a media type")
        if not 0 <= self.size <= MAX_SIZE:
            raise ManifestInvalid(f"{self.digest} has an impossible size")
