"""The contracts of `registryd.content`, fulfilled by a directory."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.file_events import Waiter
from registryd.content.description import StoreDescription
from registryd.content.provenance import Provenance
from registryd.content.source import Content, ContentNotFound, ContentUnavailable, OpenContent
from registryd.content.writer import ContentMismatch
from registryd.oci.descriptor import Descriptor
from registryd.store.blob_folder import BlobFolder
from registryd.store.directory.errors import reading, reason, writing
from registryd.store.directory.ingest import FileIngest
from registryd.store.directory.layout import Layout
from registryd.store.directory.media_types import MediaTypes
from registryd.store.directory.names import Names
from registryd.store.directory.pool import run_writing
from registryd.store.directory.session import Session, remove_dead_sessions
from registryd.store.growing import GrowingFiles
from registryd.store.stocktaking import Stocktaking
from registryd.transfer.file import FileBody
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from registryd.content.growing import GrowingContent
    from registryd.content.inventory import Stock
    from registryd.content.naming import Naming
    from registryd.content.sought import Sought
    from registryd.content.source import NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.directory.partials import Partials
    from registryd.store.directory.sources import Sources
    from registryd.transfer.inflow import Inflows

# Reading and parsing this much in the event loop takes less than handing it to a thread and back would matter.
_INLINE_BYTES: Final = 128 * 1024

_LOG: Final = logging.getLogger(__name__)


class DirectoryStore:
    """A ContentSource, a GrowingSource, a NameSource and a ContentWriter. Made by `open_directory_store`."""

    def __init__(self, layout: Layout, partials: Partials | None = None, sources: Sources | None = None) -> None:
        """`sources` knows what was fetched from where; without it, content is whose names it has."""
        self._layout = layout
        self._sources = sources
        self._partials = partials
        self.media_types = MediaTypes(layout)
        self.named = Names(layout)
        self._walking = asyncio.Lock()
        self._forgotten = 0
        self._session: Session | None = None
        self._opening_session = asyncio.Lock()
        self._growing = GrowingFiles(self._open_ingest, self.media_types.known)
        self._arrivals = Waiter()
        self._blobs = BlobFolder(layout.root)
        self._stocktaking = Stocktaking(self._growing.events)

    # what is there

    async def find(self, digest: Digest) -> Content:
        fd, size = self._layout.open_blob(digest)
        try:
            return await self._describe(digest, fd, size)
        finally:
            os.close(fd)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        fd, size = self._layout.open_blob(digest)
        try:
            span = wanted(size)
            content = await self._describe(digest, fd, size)
        except BaseException:
            os.close(fd)
            raise
        return OpenContent(content, span, FileBody(fd, span))

    async def withdraw(self, digest: Digest) -> None:
        """Move a corrupt blob out of the layout's way, to a place where an operator finds it."""
        await run_writing(partial(self._layout.withdraw_blob, digest))

    def would_have(self, content: Content) -> bool:  # noqa: ARG002 - as for all stores
        return False

    def ingest_of(self, digest: Digest) -> None:
        """None: no containerd writes into this store."""

    async def resolve(self, name: FullName) -> Sequence[NamedContent]:
        return await self.named.resolve(name)

    # where it is from

    async def provenance(self, content: Content) -> Provenance:
        """Where it was fetched from, and the names under which somebody put it there: those of what was not fetched."""
        if content.is_growing:
            return Provenance(self._sources.began(content.digest) if self._sources else frozenset())
        await self._walk()
        fetched = self._fetched_from(content.digest)
        above = () if fetched else self.media_types.above(content.digest)
        return Provenance(fetched.union(self.named.catalog.of(content.digest), *map(self._given_by_hand, above)))

    def namers(self, digest: Digest) -> frozenset[Repository]:
        above = self.media_types.above(digest)
        return frozenset().union(*(self.named.catalog.of(each) | self._fetched_from(each) for each in above))

    def asked(self, sought: Sought) -> bool:  # noqa: ARG002
        """Do nothing: only this process receives content here, and notes its sources."""
        return False

    def _fetched_from(self, digest: Digest) -> frozenset[Repository]:
        return self._sources.of(digest) if self._sources else frozenset()

    def _given_by_hand(self, target: Digest) -> Iterator[Repository]:
        fetched = {repository.registry for repository in self._fetched_from(target)}
        return (repository for repository in self.named.catalog.of(target) if repository.registry not in fetched)

    async def stock(self) -> Stock:
        """All content (see `registryd.content.inventory`); a listing of the folder."""
        return await self._stocktaking.take(self._blobs, self._receiving)

    async def namings(self) -> Collection[Naming]:
        return await self.named.namings()

    async def wait_renamed(self) -> None:
        await self.named.wait_renamed(self._growing.events)

    async def wait_changed(self) -> None:
        await self._stocktaking.wait_changed()

    def _receiving(self) -> Collection[Digest]:
        return self._session.receiving() if self._session else ()

    async def describe(self) -> StoreDescription:
        names = tuple(map(str, await self.names()))
        where = f"from the files in {self._layout.root}"
        return StoreDescription(
            kind="directory", reading=where, is_direct=True, names=names, images=self.count_images()
        )

    def count_images(self) -> int:
        """By their digests, as of the last look at the names."""
        return len({entry.target.digest for entry in self.named.catalog.entries()})

    async def names(self) -> Sequence[FullName]:
        """All names with a meaning here, sorted."""
        return await self.named.all()

    async def manifests(self) -> Mapping[Digest, Manifest]:
        """All manifests here, with a name or not; looks at everything. Raises StoreUnavailable."""
        return await run_in_pool(partial(self._manifests_of, (await self.stock()).held))

    def _manifests_of(self, digests: Collection[Digest]) -> Mapping[Digest, Manifest]:
        found = ((digest, self.media_types.look_at(digest)) for digest in digests)
        return {digest: manifest for digest, manifest in found if manifest}

    @property
    def keepable(self) -> None:
        """None: no other program removes content here, and none pulls into it."""

    @property
    def newcomers(self) -> None:
        """None: no other program writes here."""

    async def check(self) -> None:
        """Whether the store can answer: raises StoreUnavailable when the directory is gone or cannot be read."""
        self._layout.require()

    async def _describe(self, digest: Digest, fd: int, size: int) -> Content:
        with reading(digest):
            await self._look_into(digest, fd, size)
        if self.media_types.known(digest) is None:
            await self._walk()
        return Content(digest, size, self.media_types.known(digest))

    async def _look_into(self, digest: Digest, fd: int, size: int) -> None:
        look = partial(self.media_types.look_into, digest, fd, size)
        if size <= _INLINE_BYTES or self.media_types.is_settled(digest):
            look()
        else:
            await run_in_pool(look)

    async def _walk(self) -> None:
        """Learn from all named manifests what they say of their children. Most manifests are known already."""
        with suppress(ContentUnavailable):
            await self.named.refresh()
        async with self._walking:
            unwalked = self.named.catalog.take_unwalked()
            if self._forgotten != self.media_types.forgotten:
                unwalked = [entry.target for entry in self.named.catalog.entries()]
            if unwalked:
                await run_in_pool(partial(self.media_types.learn, unwalked))
                self._forgotten = self.media_types.forgotten

    # what comes in

    async def begin(self, digest: Digest, *, size: int | None = None) -> FileIngest:
        session = await self._writable_session()
        session.reserve(digest, size)
        self._stocktaking.tell()
        ingest = FileIngest(session, digest, size)
        await ingest.begin()
        return ingest

    async def put(self, digest: Digest, data: bytes) -> None:
        """Take content that is small enough to have come at once, in one step.

        Raises as `begin`, and what it gives, do.
        """
        await self._put(digest, data, {})
        self.media_types.note(digest, data)

    async def put_manifest(self, digest: Digest, data: bytes, manifest: Manifest, names: Collection[FullName]) -> None:
        """Take a manifest, which these bytes are, and name it in the same step. Raises as `put` and `name` do."""
        target = Descriptor(manifest.media_type, digest, len(data))
        await self._put(digest, data, dict.fromkeys(names, target))
        self.media_types.note_manifest(digest, manifest)

    async def _put(self, digest: Digest, data: bytes, names: Mapping[FullName, Descriptor]) -> None:
        if not digest.verifies(data):
            raise ContentMismatch(f"the bytes that came are not those of {digest}")
        session = await self._writable_session()

        def store_and_name() -> None:
            session.store(digest, data)
            if names:
                self.named.writer.name(names)

        session.reserve(digest, None)
        try:
            with writing(digest):
                await run_writing(store_and_name)
        finally:
            session.release(digest)
        if names:
            self.named.have_changed()

    @property
    def gives_arriving(self) -> bool:
        return True

    @property
    def inflows(self) -> Inflows:
        return self._growing.inflows

    @property
    def arrivals(self) -> Waiter:
        """Never tells by itself: only the fetcher asks for content that this store is receiving."""
        return self._arrivals

    async def growing(self, digest: Digest) -> GrowingContent:
        return await self._growing.growing(digest)

    async def begun(self, digest: Digest) -> GrowingContent:
        return await self._growing.begun(digest)

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._growing.open_growing(digest, wanted)

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        return await self._growing.growing_stripe(digest, stripe, beyond=beyond)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        return await self._growing.open_stripe(digest, stripe, wanted)

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        return await self._growing.wait_grown(digest, beyond=beyond)

    def _open_ingest(self, digest: Digest) -> tuple[int, int]:
        if self._session is None:
            raise ContentNotFound("nothing is being received")
        return self._session.open_ingest(digest)

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        await self.named.name(targets)

    async def _writable_session(self) -> Session:
        async with self._opening_session:
            if self._session is None:
                self._session = await self._open_session()
            return self._session

    async def _open_session(self) -> Session:
        session = Session(
            self._layout, self.media_types.look_at, self._partials, released=lambda _: self._stocktaking.tell()
        )
        try:
            with writing(self._layout.root):
                await run_writing(session.open)
        except BaseException:
            await run_writing(session.close)
            raise
        return session

    # the end

    async def aclose(self) -> None:
        """Abort what is coming in; bodies that are open stay open. Idempotent."""
        self._stocktaking.close()
        session, self._session = self._session, None
        if session is not None:
            await run_writing(session.close)
        await self.named.aclose()


@asynccontextmanager
async def open_directory_store(
    root: Path, partials: Partials | None = None, sources: Sources | None = None
) -> AsyncIterator[DirectoryStore]:
    """A store over this directory: any OCI image layout, writable or not; made if it is empty or absent.

    What killed processes left half received is removed first, or kept by `partials`. Raises StoreUnavailable when the
    directory is something else, or cannot be read.
    """
    layout = Layout(root)
    await run_writing(layout.prepare)
    await run_writing(partial(_sweep, layout, partials))
    if sources:
        await run_writing(sources.load)
    store = DirectoryStore(layout, partials, sources)
    try:
        await store.named.take_in()
        yield store
    finally:
        await store.aclose()


def _sweep(layout: Layout, partials: Partials | None) -> None:
    try:
        if partials:
            partials.load()
        remove_dead_sessions(layout, partials)
    except OSError as error:
        # A layout that cannot be written is served all the same.
        _LOG.warning("%s is not swept of what killed processes left: %s", layout.root, reason(error))
