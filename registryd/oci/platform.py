"""For which machines an image is: what of an index is wanted, by containerd's rules."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from registryd.json_text import parse_json
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.manifest import is_manifest_type, parse_descriptor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from registryd.oci.descriptor import Descriptor

# Layers that their licence keeps on the vendor's servers; containerd and Docker leave them out as well.
_NOT_DISTRIBUTED: Final = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)

# What a variant is where none is said (containerd's platforms.Normalize).
_USUAL_VARIANTS: Final = {"arm64": "v8", "arm": "v7", "amd64": "v1"}

# Where Go, and so OCI, has another name than the kernel.
_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}


def local_architecture() -> str:
    """This machine's architecture, by OCI's name."""
    machine = platform.machine()
    return _GO_NAMES.get(machine, machine)


@dataclass(frozen=True, slots=True)
class Platform:
    """`linux/arm64`, `linux/arm/v7`."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os/architecture[/variant]`; raises ValueError."""
        parts = text.split("/")
        if len(parts) not in {2, 3} or not all(parts):
            raise ValueError(f"{text[:100]!r} is not a platform: os/architecture or os/architecture/variant")
        return cls(*parts)

    def fits(self, raw: Any) -> bool:
        """Whether this is what an index's entry says to be for."""
        entry = raw if isinstance(raw, dict) else {}
        if (entry.get("os"), entry.get("architecture")) != (self.os, self.architecture):
            return False
        return not self.variant or self._full(entry.get("variant")) == self._full(self.variant)

    def _full(self, variant: object) -> object:
        return variant or _USUAL_VARIANTS.get(self.architecture, "")

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The manifests of an index that are wanted, and the platforms of which none was met."""

    manifests: tuple[Descriptor, ...]
    unmet: frozenset[Platform]


def choose_manifests(index: bytes, platforms: Collection[Platform]) -> Chosen:
    """Of a document that was read as an index: those of the platforms (none: all).

    Also an index within, and what does not say what it is for, which then is for whatever it may be.
    """
    return _choose(parse_json(index)["manifests"], platforms)


def _choose(entries: Iterable[dict[str, Any]], platforms: Collection[Platform]) -> Chosen:
    wanted, unmet = [], set(platforms)
    for entry in entries:
        if not is_manifest_type(entry["mediaType"]):
            continue
        if not platforms or not isinstance(entry.get("platform"), dict):
            wanted.append(parse_descriptor(entry))
            unmet = unmet if entry["mediaType"] in INDEX_TYPES else set()
        elif met := {platform for platform in platforms if platform.fits(entry["platform"])}:
            wanted.append(parse_descriptor(entry))
            unmet -= met
    return Chosen(tuple(wanted), frozenset(unmet))


def runnable_manifests(index: bytes, platforms: Collection[Platform]) -> Sequence[Descriptor]:
    """Of a document that was read as an index: the images for one of the platforms; all images if none of them is."""
    images = [entry for entry in parse_json(index)["manifests"] if _is_image(entry)]
    return _choose(images, platforms).manifests or [parse_descriptor(entry) for entry in images]


def _is_image(entry: dict[str, Any]) -> bool:
    """Not so what BuildKit attests of an image, which is for a platform that is none."""
    said = entry.get("platform")
    return is_manifest_type(entry["mediaType"]) and not (isinstance(said, dict) and said.get("os") == "unknown")


def distributed(children: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """The content of a manifest that a registry has."""
    return (child for child in children if not child.media_type.startswith(_NOT_DISTRIBUTED))
