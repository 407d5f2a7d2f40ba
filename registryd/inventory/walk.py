"""All that an image consists of, as an endpoint tells it: from the name to the last layer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from registryd.content.source import ContentUnavailable
from registryd.oci.descriptor import INDEX_TYPES, Descriptor
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import is_manifest_type, parse_descriptor, parse_manifest
from registryd.upstream.errors import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from registryd.inventory.lists import ImageName
    from registryd.oci.digest import Digest
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint

# Layers that their licence keeps on the vendor's servers; containerd leaves them out as well.
_NOT_DISTRIBUTED: Final = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)
_DEEPEST: Final = 4  # an index of indexes is rare, anything deeper an attempt


@dataclass(frozen=True, slots=True)
class Platform:
    """`linux/arm64`, `linux/arm/v7`."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os/architecture[/variant]`; raises ValueError."""
        os, architecture, *variant = text.split("/")
        return cls(os, architecture, *variant)

    def fits(self, raw: Any) -> bool:
        """Whether an index's entry is for this platform."""
        entry = raw if isinstance(raw, dict) else {}
        has_variant = not self.variant or entry.get("variant") == self.variant
        return entry.get("os") == self.os and entry.get("architecture") == self.architecture and has_variant


@dataclass(frozen=True, slots=True)
class Lacking:
    """Something that an image needs and that the endpoint does not give, or gives wrong."""

    what: str
    why: str


@dataclass(slots=True)
class Parts:
    """What an image consists of: its blobs, the manifests that were read, and what could not be had."""

    blobs: dict[Digest, Descriptor]
    manifests: dict[Digest, int]
    lacking: list[Lacking]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.manifests.values()) + sum(blob.size for blob in self.blobs.values())


async def parts_of(
    image: ImageName, client: RegistryClient, endpoint: Endpoint, *, platforms: Collection[Platform]
) -> Parts:
    """Read the image's manifests, those of the platforms only (none: all); blobs are not looked at."""
    parts = Parts({}, {}, [])
    waiting: list[tuple[Any, int]] = [(image.reference, 0)]
    while waiting:
        reference, depth = waiting.pop()
        if reference in parts.manifests:
            continue
        try:
            got = await client.get_manifest(endpoint, image.repository, reference)
            parts.manifests[got.digest] = len(got.data)
            waiting += [(digest, depth + 1) for digest in _take(got.data, parts, platforms, depth)]
        except ContentUnavailable as error:
            parts.lacking.append(Lacking(str(reference), str(error)))
    return parts


def _take(data: bytes, parts: Parts, platforms: Collection[Platform], depth: int) -> Iterator[Digest]:
    """Note the blobs of a manifest; gives the manifests of an index. Raises UpstreamBroken."""
    try:
        manifest = parse_manifest(data)
    except ManifestInvalid as error:
        raise UpstreamBroken(f"not a manifest: {error}") from error
    if manifest.media_type in INDEX_TYPES:
        if depth >= _DEEPEST:
            raise UpstreamBroken("indexes within indexes, too deep")
        return iter(_chosen(data, parts, platforms))
    for child in manifest.children:
        if not child.media_type.startswith(_NOT_DISTRIBUTED):
            parts.blobs[child.digest] = child
    return iter(())


def _chosen(data: bytes, parts: Parts, platforms: Collection[Platform]) -> list[Digest]:
    entries = json.loads(data)["manifests"]
    wanted = [
        parse_descriptor(entry).digest
        for entry in entries
        if is_manifest_type(entry["mediaType"])
        and (not platforms or any(platform.fits(entry.get("platform")) for platform in platforms))
    ]
    for platform in platforms:
        if not any(platform.fits(entry.get("platform")) for entry in entries):
            name = "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))
            parts.lacking.append(Lacking(name, "the image is not for this platform"))
    return wanted
