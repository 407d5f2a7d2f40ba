"""A directory store within limits: what comes in reserves its room first, what is read is not evicted meanwhile."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from registryd.content.source import OpenContent
from registryd.content.writer import IngestInProgress
from registryd.store.directory.layout import Layout
from registryd.store.directory.partials import Partials
from registryd.store.directory.pool import run_writing
from registryd.store.directory.sources import Sources
from registryd.store.directory.space import Space
from registryd.store.directory.store import DirectoryStore, open_directory_store
from registryd.store.directory.usage import note_use

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from registryd.aio.file_events import Waiter
    from registryd.content.description import StoreDescription
    from registryd.content.growing import GrowingContent
    from registryd.content.inventory import Stock
    from registryd.content.naming import Naming
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, RangeOf
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.directory.ingest import FileIngest
    from registryd.store.directory.space import Room, SpaceLimits, SpaceObserver
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflows
    from registryd.transfer.sink import Sink


class BoundedStore:
    """A DirectoryStore with a limit of space; made by `open_bounded_store`."""

    def __init__(
        self, store: DirectoryStore, layout: Layout, space: Space, partials: Partials, sources: Sources
    ) -> None:
        self._store = store
        self._sources = sources
        self._layout = layout
        self._space = space
        self._partials = partials

    async def find(self, digest: Digest) -> Content:
        return await self._store.find(digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        opened = await self._store.open(digest, wanted)
        note_use(self._layout, digest)
        self._space.in_use[digest] += 1
        return OpenContent(opened.content, opened.span, _HeldBody(opened.body, self._space, digest))

    async def resolve(self, name: FullName) -> Sequence[NamedContent]:
        return await self._store.resolve(name)

    async def names(self) -> Sequence[FullName]:
        return await self._store.names()

    async def check(self) -> None:
        await self._store.check()

    async def keep_measured(self) -> None:
        """Keep the count of its bytes right, whoever removes some; endless."""
        await self._space.keep_measured()

    # where it is from

    async def provenance(self, content: Content) -> Provenance:
        return await self._store.provenance(content)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return self._store.namers(digest)

    def asked(self, sought: Sought) -> bool:
        return self._store.asked(sought)

    async def note_source(self, digest: Digest, repository: Repository) -> None:
        """This repository's upstream gives the content that is here."""
        await self._sources.note(digest, repository)

    # for peers

    @property
    def gives_arriving(self) -> bool:
        return True

    @property
    def inflows(self) -> Inflows:
        return self._store.inflows

    @property
    def arrivals(self) -> Waiter:
        return self._store.arrivals

    async def growing(self, digest: Digest) -> GrowingContent:
        return await self._store.growing(digest)

    async def begun(self, digest: Digest) -> GrowingContent:
        return await self._store.begun(digest)

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._store.open_growing(digest, wanted)

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        return await self._store.growing_stripe(digest, stripe, beyond=beyond)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        return await self._store.open_stripe(digest, stripe, wanted)

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        return await self._store.wait_grown(digest, beyond=beyond)

    async def stock(self) -> Stock:
        return await self._store.stock()

    async def wait_changed(self) -> None:
        await self._store.wait_changed()

    async def namings(self) -> Collection[Naming]:
        return await self._store.namings()

    async def wait_renamed(self) -> None:
        await self._store.wait_renamed()

    async def withdraw(self, digest: Digest) -> None:
        await self._store.withdraw(digest)

    def would_have(self, content: Content) -> bool:
        return self._store.would_have(content)

    def ingest_of(self, digest: Digest) -> None:
        self._store.ingest_of(digest)

    @property
    def keepable(self) -> None:
        """None: no program pulls into this store."""

    @property
    def newcomers(self) -> None:
        """None: no other program writes here."""

    async def describe(self) -> StoreDescription:
        return await self._store.describe()

    def count_images(self) -> int:
        return self._store.count_images()

    # what comes in

    def kept(self, digest: Digest, repository: Repository) -> int:
        """How many bytes of it came from that registry before; `begin` goes on after them, if they are still there."""
        is_its = any(began.registry == repository.registry for began in self._sources.began(digest))
        return self._partials.size(digest) if is_its else 0

    async def begin(self, digest: Digest, *, size: int, repository: Repository) -> ReservedIngest:
        """As ContentWriter has it, from that repository; StoreFull also when the limits leave no room."""
        if not self.kept(digest, repository):
            # Readers here must not see bytes that another source gave.
            await run_writing(partial(self._partials.drop, digest))
        kept = self._partials.claim(digest)
        try:
            room = await self._space.reserve(size, written=kept.size if kept else 0)
        except BaseException:
            if kept:
                self._partials.unclaim(kept)
            raise
        try:
            ingest = await self._store.begin(digest, size=size)
        except BaseException as error:
            self._space.release(room)
            if kept and isinstance(error, IngestInProgress):
                self._partials.unclaim(kept)
            raise
        # From here on no other task receives it.
        reserved = ReservedIngest(ingest, self._space, room, partial(self._sources.note, digest, repository))
        try:
            await self._sources.note_began(digest, repository)
        except BaseException:
            await reserved.aclose()
            raise
        return reserved

    async def put(self, digest: Digest, data: bytes, *, repository: Repository) -> None:
        """As DirectoryStore has it, from that repository; StoreFull also when the limits leave no room."""
        async with self._room_for(data):
            await self._store.put(digest, data)
        await self._sources.note(digest, repository)

    async def put_manifest(
        self, digest: Digest, data: bytes, manifest: Manifest, names: Collection[FullName], *, repository: Repository
    ) -> None:
        """As DirectoryStore has it, from that repository; StoreFull also when the limits leave no room."""
        async with self._room_for(data):
            await self._store.put_manifest(digest, data, manifest, names)
        await self._sources.note(digest, repository)

    @asynccontextmanager
    async def _room_for(self, data: bytes) -> AsyncIterator[None]:
        """Take room. The room stays taken unless the block raises."""
        room = await self._space.reserve(len(data))
        try:
            yield
        except BaseException:
            self._space.release(room)
            raise
        self._space.stored(room)

    def manifest(self, digest: Digest) -> Manifest | None:
        """The known descriptor of a manifest, without reading a file."""
        return self._store.media_types.manifest(digest)

    def described(self, digest: Digest) -> Descriptor | None:
        """The description of content, which may not be here, in a manifest that is here; from memory."""
        return self._store.media_types.described(digest)

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        await self._store.name(targets)


class ReservedIngest:
    """An ingest whose room is given back, or taken for good, when it ends."""

    def __init__(
        self, ingest: FileIngest, space: Space, room: Room, note: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """`note` says where it is from, when it is whole."""
        self._note = note
        self._ingest = ingest
        self._space: Space | None = space
        self._room = room

    @property
    def received(self) -> int:
        return self._ingest.received

    @property
    def written(self) -> int:
        """As FileIngest has it."""
        return self._ingest.written

    def open_written(self, told: Callable[[int], None]) -> int:
        """As FileIngest has it."""
        return self._ingest.open_written(told)

    async def write(self, data: bytes) -> None:
        await self._ingest.write(data)
        self._room.written = self._ingest.written

    async def seal(self) -> None:
        await self._ingest.seal()

    async def commit(self) -> None:
        await self._ingest.commit()
        if self._space:
            self._space.stored(self._room)
            self._space = None
            await self._note()

    async def aclose(self) -> None:
        await self._ingest.aclose()
        if self._space:
            self._space.release(self._room)
            self._space = None


class _HeldBody:
    """Another body. Its content is in use until the body is closed."""

    def __init__(self, body: Body, space: Space, digest: Digest) -> None:
        self._body = body
        self._space: Space | None = space
        self._digest = digest

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        await self._body.send_to(sink)

    async def aclose(self) -> None:
        await self._body.aclose()
        if self._space:
            self._space.in_use[self._digest] -= 1
            self._space = None


@asynccontextmanager
async def open_bounded_store(
    root: Path, limits: SpaceLimits, observer: SpaceObserver | None = None
) -> AsyncIterator[BoundedStore]:
    """As `open_directory_store`, within limits, and keeping what breaks off."""
    layout = Layout(root)
    partials = Partials(layout)
    sources = Sources(layout, lambda digest: partials.size(digest) > 0)
    async with open_directory_store(root, partials, sources) as store:
        space = Space(layout, store.media_types, partials, store.named, limits, observer=observer)
        await space.measure()
        yield BoundedStore(store, layout, space, partials, sources)
