"""The contract of a node whose images can be kept: what it has, and how more comes to be there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.oci.reference import FullName


@dataclass(frozen=True, slots=True)
class KeptImage:
    """A name, and the manifest or index that it means."""

    name: FullName
    digest: Digest

    @property
    def key(self) -> Digest:
        """The key of the image at index nodes: nodes that keep the image announce it, other holders do not."""
        return Digest.of(f"registryd keeps {self.name} as {self.digest}".encode())

    def __str__(self) -> str:
        return str(self.name)


@dataclass(frozen=True, slots=True)
class ImageHere:
    """An image that is here, and since when its name means it, in seconds since the epoch."""

    image: KeptImage
    seen_at: float


class Keepable(Protocol):
    """One node's images. Raises ContentUnavailable."""

    async def images(self) -> Collection[ImageHere]:
        """All images that this node may keep."""

    async def wait_changed(self) -> None:
        """Return when `images` may have changed since the last call; for one waiting task."""

    async def size_of(self, name: FullName) -> int | None:
        """Bytes of an image that is here; None when it is not."""

    async def kept(self) -> Collection[FullName]:
        """The names that an agent of this node, perhaps an earlier one, keeps here."""

    async def keep(self, name: FullName) -> bool:
        """Protect the image from the node's garbage collection; returns whether the image is there."""

    async def let_go(self, name: FullName) -> None:
        """Let the node tidy it up again."""

    async def bring(self, name: FullName) -> None:
        """Return when it is here."""

    def has_room(self, size: int) -> bool:
        """Whether the disk takes an image of so many bytes without becoming so full that the node tidies up."""
