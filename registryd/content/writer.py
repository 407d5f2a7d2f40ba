"""The contract of putting content into a store, so that it is found there from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.content.source import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName


class ContentMismatch(Exception):
    """The bytes do not match the digest or the size. The store keeps none of them."""


class IngestInProgress(Exception):
    """Someone in this process is receiving the digest already: follow what arrives, don't fetch it twice."""


class StoreFull(StoreUnavailable):
    """There is no room; nothing of what was received is kept. The store goes on serving what it has.

    `fits`: content of so many bytes may still have room.
    """

    def __init__(self, message: str, *, fits: int = 0) -> None:
        super().__init__(message)
        self.fits = fits


class Ingest(Protocol):
    """Content on its way into a store, not found there until it is committed.

    The caller that began an ingest closes it. Closing an ingest that is not committed leaves nothing behind. Nor does a
    write, seal or commit that raises, or a killed process, because the next process cleans up. A store may keep the
    bytes that had come, unless they turned out wrong, and go on after them the next time. An ingest is not for
    concurrent use.
    """

    @property
    def received(self) -> int:
        """Number of bytes taken so far, those of an earlier attempt included: the next `write` goes on after them.

        The last of these bytes may still be on their way to the disk.
        """

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits when the disk is slower.

        Raises ContentMismatch for more than the size promised, StoreFull or StoreUnavailable; a fault of the disk may
        show up at a later call.
        """

    async def seal(self) -> None:
        """End the writing: check size and digest, make the content durable, close the descriptor. Idempotent.

        Raises ContentMismatch, StoreFull or StoreUnavailable. A caller can keep many sealed ingests and commit them
        together, so that a bad batch leaves the store as it was.
        """

    async def commit(self) -> None:
        """Seal, and let the content be found. Success as well when the content came to be there some other way."""

    async def aclose(self) -> None:
        """Abort unless committed; idempotent, never raises for a faulty disk."""


class ContentWriter(Protocol):
    """A store that takes content in."""

    async def begin(self, digest: Digest, *, size: int | None = None) -> Ingest:
        """Start to receive content; `size` in bytes if it is known.

        One at a time for each digest: raises IngestInProgress for the second within a process. (Two processes only
        waste work: both commit the same bytes.) Content that is already there can be received again; its bytes are
        verified all the same. Raises StoreFull or StoreUnavailable.
        """

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        """Record what these names mean from now on, all of them or none.

        Raises ContentNotFound when a target is not in the store, StoreFull or StoreUnavailable.
        """
