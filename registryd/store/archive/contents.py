"""The contents of images: all content that their manifests reach, and the part of it that is not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.manifest import is_manifest_type
from registryd.oci.platform import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Missing:
    """Content that something refers to and that is not there, or is not what it should be.

    An image is whole without the optional: other platforms of an index, layers that must not be distributed.
    """

    target: Descriptor
    is_optional: bool
    why: str

    def __str__(self) -> str:
        return f"{self.target.digest} ({self.target.media_type}) {self.why}"


@dataclass(frozen=True, slots=True)
class Contents:
    """All content that some images reach: by digest what is there, in the order of the walk, and what is missing."""

    there: Mapping[Digest, Descriptor]
    missing: tuple[Missing, ...]

    @property
    def size(self) -> int:
        """Bytes of what is there, each digest counted once."""
        return sum(descriptor.size for descriptor in self.there.values())


@dataclass(slots=True)
class _Walk:
    """A walk through content: `sizes` and `manifests` have what was met, `damaged` has what is wrong and why."""

    sizes: Mapping[Digest, int]
    manifests: Mapping[Digest, Manifest]
    damaged: Mapping[Digest, str]
    there: dict[Digest, Descriptor] = field(default_factory=dict)
    expanded: set[Digest] = field(default_factory=set)
    missing: dict[Digest, Missing] = field(default_factory=dict)

    def visit(self, target: Descriptor, *, is_platform: bool) -> Iterator[tuple[Descriptor, bool]]:
        """Note one piece of content. Gives the content that it refers to, and whether that is an index's platform."""
        if why := self._fault(target):
            is_here = target.digest in self.sizes or target.digest in self.damaged
            is_optional = not is_here and (is_platform or _is_not_distributed(target))
            self._note_missing(Missing(target, is_optional, why))
            return
        self.there.setdefault(target.digest, target)
        # Once only: indexes that refer to each other in many ways would make the walk take for ever.
        if is_manifest_type(target.media_type) and target.digest not in self.expanded:
            self.expanded.add(target.digest)
            manifest = self.manifests[target.digest]
            yield from ((child, manifest.media_type in INDEX_TYPES) for child in manifest.children)

    def _note_missing(self, missing: Missing) -> None:
        # A reference that needs the content says more than one that could do without.
        known = self.missing.get(missing.target.digest)
        if known is None or known.is_optional:
            self.missing[missing.target.digest] = missing

    def _fault(self, target: Descriptor) -> str:
        if why := self.damaged.get(target.digest):
            return why
        if (size := self.sizes.get(target.digest)) is None:
            return "is not there"
        if size != target.size:
            return f"has {size} bytes instead of {target.size}"
        if is_manifest_type(target.media_type) and target.digest not in self.manifests:
            return "is not a manifest"
        return ""


def contents_of(
    images: Iterable[Descriptor],
    *,
    sizes: Mapping[Digest, int],
    manifests: Mapping[Digest, Manifest],
    damaged: Mapping[Digest, str] | None = None,
) -> Contents:
    """Walk from the images: `sizes` has all content that is there, `manifests` what could be read as one.

    `damaged` is not usable though it may be there, and why.
    """
    walk = _Walk(sizes, manifests, damaged or {})
    waiting = [(image, False) for image in images]
    while waiting:
        target, is_platform = waiting.pop()
        waiting += walk.visit(target, is_platform=is_platform)
    return Contents(walk.there, tuple(walk.missing.values()))


def _is_not_distributed(target: Descriptor) -> bool:
    return not any(distributed((target,)))
