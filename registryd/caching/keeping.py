"""The parts of a store that a cache needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.content.provenance import NamedStore
from registryd.content.writer import Ingest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from registryd.content.source import NamedContent
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository


class ReadableIngest(Ingest, Protocol):
    """An ingest whose bytes can be read while they arrive."""

    @property
    def written(self) -> int:
        """Number of bytes that a reader of `open_written` finds."""

    def open_written(self, told: Callable[[int], None]) -> int:
        """A descriptor of its own for reading them, also after the commit; the caller closes it.

        `told` is called with their number whenever there are more.
        """


class CacheStore(NamedStore, Protocol):
    """A writable store. Its space is limited, so every call that brings content in may raise StoreFull."""

    def kept(self, digest: Digest, repository: Repository) -> int:
        """How many bytes of it came from that registry before; `begin` goes on after them, if they are still there."""

    async def begin(self, digest: Digest, *, size: int, repository: Repository) -> ReadableIngest:
        """As `ContentWriter` has it, for content whose size is known, from that repository."""

    async def put(self, digest: Digest, data: bytes, *, repository: Repository) -> None:
        """Take small content of that repository whole.

        Raises ContentMismatch, IngestInProgress, StoreFull or StoreUnavailable.
        """

    async def put_manifest(
        self, digest: Digest, data: bytes, manifest: Manifest, names: Collection[FullName], *, repository: Repository
    ) -> None:
        """Take a manifest of that repository whole, and under these names if any. Raises as `put` does."""

    async def resolve(self, name: FullName) -> Sequence[NamedContent]:
        """As `NameSource` has it, and for names by digest."""

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest that is here, as far as it is known without reading anything."""

    def described(self, digest: Digest) -> Descriptor | None:
        """What a manifest that is here says of this content, which may not be here; from memory."""

    async def names(self) -> Sequence[FullName]:
        """All names that mean something here, sorted; some microseconds for each. Raises StoreUnavailable."""

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        """As `ContentWriter` has it."""

    async def note_source(self, digest: Digest, repository: Repository) -> None:
        """This repository's upstream gives the content that is here."""
