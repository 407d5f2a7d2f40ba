"""A node's report for the view of the whole cluster: within bounds, and without any name of content.

Images are keys: only a node that has the same image under the same name can read them. Contents are the first digits of
their digests.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of one node. A kubelet keeps some dozens of images, and a node sends 64 bodies at once by default.
MOST_FLOWS: Final = 16
MOST_IMAGES: Final = 256
HOURS: Final = 24
KEY_BYTES: Final = 8
# "sha256:" and twelve digits, as docker and crictl tell contents apart for people.
LABEL_CHARACTERS: Final = 19


@dataclass(frozen=True, slots=True)
class Flow:
    """A body that is being sent to a peer: `sent` of `size` bytes, to the host `receiver`."""

    label: str
    size: int
    sent: int
    receiver: str


@dataclass(frozen=True, slots=True)
class Hour:
    """Bytes that containerd got without going outside, and without the agent, within an hour."""

    spared: int = 0
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The largest flows; the images that are here; the latest hours, the present one first."""

    flows: tuple[Flow, ...] = ()
    images: tuple[bytes, ...] = ()
    hours: tuple[Hour, ...] = ()


def image_key(name: str) -> bytes:
    """The key of an image's name in reports."""
    return sha256(name.encode()).digest()[:KEY_BYTES]


def image_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names by which users know images, one for each image: CRI also has it under its digest and its id."""
    full = sorted(name for name in names if "/" in name)
    tagged = {name.rpartition(":")[0] for name in full if "@" not in name}
    return tuple(name for name in full if "@" not in name or name.partition("@")[0] not in tagged)


def image_keys(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(sorted(image_key(name) for name in image_names(names))[:MOST_IMAGES])


def label_of(digest: str) -> str:
    return digest[:LABEL_CHARACTERS]
