"""The contents of an image, as an endpoint gives them: from the name to the last layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentUnavailable
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import parse_manifest
from registryd.oci.platform import choose_manifests, distributed
from registryd.upstream.errors import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Reference
    from registryd.upstream.answers import ManifestBytes

    GetManifest = Callable[[Reference], Awaitable[ManifestBytes]]
    """Reads a manifest. Raises ContentUnavailable."""

_DEEPEST: Final = 4  # an index of indexes is rare, anything deeper an attempt


@dataclass(frozen=True, slots=True)
class Lacking:
    """Something that an image needs and that the endpoint does not give, or gives wrong."""

    what: str
    why: str


@dataclass(slots=True)
class Parts:
    """The contents of an image: its blobs, the manifests that were read, and content that was not available.

    `attached` says how many of these are referrers, if these were looked for.
    """

    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    manifests: dict[Digest, ManifestBytes] = field(default_factory=dict)
    lacking: list[Lacking] = field(default_factory=list)
    failures: list[ContentUnavailable] = field(default_factory=list)
    root: Digest | None = None
    unmet: frozenset[Platform] = frozenset()
    attached: int | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        documents = sum(len(manifest.data) for manifest in self.manifests.values())
        return documents + sum(blob.size for blob in self.blobs.values())

    def fails(self, what: object, failure: ContentUnavailable) -> None:
        """This could not be had."""
        self.lacking.append(Lacking(str(what), str(failure)))
        self.failures.append(failure)


async def parts_of(
    reference: Reference, get: GetManifest, *, platforms: Collection[Platform], root: ManifestBytes | None = None
) -> Parts:
    """Read an image's manifests, those of the platforms only (none: all); blobs are not looked at.

    `root` is the first of them if it has been read.
    """
    parts = Parts(unmet=frozenset(platforms))
    waiting: list[tuple[Reference, int]] = [(reference, 0)]
    while waiting:
        wanted, depth = waiting.pop()
        if wanted in parts.manifests:
            continue
        try:
            got = await get(wanted) if root is None or depth else root
            parts.root = parts.root or got.digest
            parts.manifests[got.digest] = got
            waiting += [(digest, depth + 1) for digest in take(got.data, parts, platforms, depth)]
        except ContentUnavailable as failure:
            parts.fails(wanted, failure)
    if not parts.lacking:
        parts.lacking += [Lacking(str(one), "the image is not for this platform") for one in parts.unmet]
    return parts


def take(data: bytes, parts: Parts, platforms: Collection[Platform], depth: int) -> Iterator[Digest]:
    """Note the blobs of a manifest; gives the manifests of an index. Raises UpstreamBroken."""
    try:
        manifest = parse_manifest(data)
    except ManifestInvalid as error:
        raise UpstreamBroken(f"not a manifest: {error}") from error
    if manifest.media_type in INDEX_TYPES:
        if depth >= _DEEPEST:
            raise UpstreamBroken("indexes within indexes, too deep")
        chosen = choose_manifests(data, platforms)
        parts.unmet &= chosen.unmet
        return (child.digest for child in chosen.manifests)
    if not depth:
        parts.unmet = frozenset()  # it is what there is, whatever it is for
    parts.blobs |= {child.digest: child for child in distributed(manifest.children)}
    return iter(())
