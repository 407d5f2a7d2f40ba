"""The outcomes of a list's images, and the observer that is told meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from registryd.inventory.lists import ImageName
    from registryd.inventory.walk import Lacking
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Registry


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """The outcome of one image: its pieces of content, their bytes, and what it lacks; `root` is its manifest.

    `attached`: how many referrers are among it, if these were looked for. `note`: a surprise for the user that named
    the image, though no content is lacking.
    """

    image: ImageName
    pieces: int
    size: int
    lacking: tuple[Lacking, ...]
    root: Digest | None = None
    attached: int | None = None
    note: str = ""

    @property
    def is_complete(self) -> bool:
        return not self.lacking


class Progress(Protocol):
    """Is told how far it has come."""

    def advanced(self, count: int) -> None:
        """So many bytes of blobs are known to be right."""

    def finished(self, outcome: ImageOutcome) -> None:
        """An image is done."""

    def waits(self, registry: Registry, seconds: float, why: str) -> None:
        """A registry asked to be left alone for so long."""
