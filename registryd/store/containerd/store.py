"""The store: what of containerd's content is here for others, and how to get at its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.content.description import StoreDescription
from registryd.content.source import Content, ContentNotFound, OpenContent, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.content.growing import GrowingContent, OngoingIngest
    from registryd.content.inventory import Stock
    from registryd.content.naming import Naming
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName
    from registryd.store.containerd.askings import Askings
    from registryd.store.containerd.following import Follower
    from registryd.store.containerd.holdings import Holdings
    from registryd.store.containerd.images import Images
    from registryd.store.containerd.ingests import IngestEvents, Ingests
    from registryd.store.containerd.keepable import KeepableImages
    from registryd.store.containerd.keeping import LayerKeeper
    from registryd.store.containerd.newcomers import ContainerdNewcomers
    from registryd.store.containerd.origins import Origins
    from registryd.store.containerd.presence import Located, Presence
    from registryd.store.containerd.reading import DocumentReader
    from registryd.store.containerd.route import Route
    from registryd.store.growing import GrowingFiles
    from registryd.transfer.inflow import Inflows


# A disk with less room than this beside the content is full: other layers come at the same time, and are unpacked.
_SPARE_BYTES: Final = 64 << 20


class ContainerdStore:
    """A ContentSource, a GrowingSource and a NameSource over one containerd; made by `connect_containerd_store`.

    Content can be had as soon as containerd answers: what has not been listed yet is looked at when it is asked for.
    Names are known once the images have been listed, and stay known while containerd is away.
    """

    def __init__(  # noqa: PLR0913 - its parts, all of them named
        self,
        *,
        presence: Presence,
        origins: Origins,
        askings: Askings,
        ingests: Ingests,
        route: Route,
        reader: DocumentReader,
        images: Images,
        growing: GrowingFiles,
        follower: Follower,
        keeper: LayerKeeper,
        holdings: Holdings,
        arrivals: IngestEvents,
        newcomers: ContainerdNewcomers,
        keepable: KeepableImages,
    ) -> None:
        self._presence = presence
        self._origins = origins
        self._askings = askings
        self._ingests = ingests
        self._route = route
        self._reader = reader
        self._images = images
        self._growing = growing
        self._follower = follower
        self._keeper = keeper
        self._holdings = holdings
        self.arrivals = arrivals
        self.newcomers = newcomers
        self.keepable = keepable

    async def find(self, digest: Digest) -> Content:
        located = await self._locate(digest)
        await self._route.settle()  # an empty node's first pull: what it has already can prove where the files are
        return await self._describe(located)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        located = await self._locate(digest)
        self._keeper.used(digest)
        span = wanted(located.size)
        content = await self._describe(located)
        await self._route.settle()
        # Last, because from here on something is open that the receiver must close.
        return OpenContent(content, span, await self._route.blobs.open(located, span))

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        if not self._images.are_listed:
            raise StoreUnavailable("containerd's images have not been listed yet")
        # An unknown image may have been imported a moment ago: an event takes its time on a busy node.
        return self._images.named(name) or await self._follower.look_up(name)

    # Where it is from

    async def provenance(self, content: Content) -> Provenance:
        return await self._origins.provenance(content)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return self._origins.namers(digest)

    def asked(self, sought: Sought) -> bool:
        self._keeper.expect(sought.digest)
        return sought.repository is not None and self._askings.asked(sought.digest, sought.repository)

    # All that there is

    async def stock(self) -> Stock:
        return await self._holdings.stock()

    async def namings(self) -> Collection[Naming]:
        if not self._images.are_listed:
            raise StoreUnavailable("containerd's images have not been listed yet")
        return self._images.namings()

    async def wait_renamed(self) -> None:
        await self._images.wait_changed()

    async def wait_changed(self) -> None:
        await self._holdings.wait_changed()

    # What is on its way in

    @property
    def gives_arriving(self) -> bool:
        return bool(self._route.roots)

    @property
    def inflows(self) -> Inflows:
        return self._growing.inflows

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

    async def withdraw(self, digest: Digest) -> None:
        """Does nothing: what containerd keeps is containerd's."""

    def would_have(self, content: Content) -> bool:
        files = self._route.files
        return files is None or (files.lacks(content.digest) and files.has_room(content.size + _SPARE_BYTES))

    def ingest_of(self, digest: Digest) -> OngoingIngest | None:
        return self._ingests.look(digest)

    # Its state, for those who start it and watch over it

    async def describe(self) -> StoreDescription:
        return StoreDescription(
            kind="containerd",
            reading=self._route.way,
            is_direct=self._route.is_direct,
            names=tuple(sorted(image.name for image in self._images)),
            images=self.count_images(),
            kept_layers=self._keeper.kept_layers,
            kept_bytes=self._keeper.kept_bytes,
        )

    def count_images(self) -> int:
        """By their digests, whatever names they have."""
        return len({image.target.digest for image in self._images})

    async def wait_ready(self) -> None:
        """Return when all images have been listed and changes are being followed."""
        await self._follower.wait_caught_up()

    async def check(self) -> None:
        """Return if it is ready now and containerd answers; raises StoreUnavailable with the reason otherwise."""
        await self._follower.check()

    async def _locate(self, digest: Digest) -> Located:
        # Most questions of peers are about what this node does not have: a stat answers them, a hundred times as
        # fast as containerd. Only its yes needs containerd's, because files are shared by all namespaces.
        if self._route.blobs.lacks(digest):
            raise ContentNotFound("containerd has no such blob")
        return await self._presence.locate(digest)

    async def _describe(self, located: Located) -> Content:
        return Content(located.digest, located.size, await self._reader.media_type(located))
