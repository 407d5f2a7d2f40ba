"""Images that this node's containerd is pulling: which blobs belong together, and which of them it is going to want.

Known from manifests that came by. A layer whose snapshot containerd has is never asked for, so that what a manifest
names is no more than likely to be wanted; since 2.1 containerd begins to receive all that it wants at once, before
that three layers at a time, in the manifest's order.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio import clock
from registryd.content.growing import GrowingContent
from registryd.content.provenance import Provenance
from registryd.content.source import ContentUnavailable
from registryd.oci.manifest import is_manifest_type
from registryd.transfer.monitoring.thresholds import GROWING_STALL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from registryd.content.sought import Sought
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import Repository

# containerd begins with all layers within 0.25 s of each other; on a busy machine that takes longer.
_BEGINNING_SECONDS: Final = 1.5
# How long after a manifest its layers are asked for: a pull that waits for a place of containerd's comes later.
_PULL_SECONDS: Final = 60.0
# That something moves is believed for so long: to find out costs some opens of files for each layer.
_BELIEVED_SECONDS: Final = 1.0
_REMEMBERED: Final = 500
# Of an image with more blobs the first are known: overlayfs mounts at most 500 layers, Docker makes at most 127, and a
# manifest of 4 MiB could name 30,000.
_MOST_BLOBS: Final = 512


class Receiving(Protocol):
    """The content that this node is receiving itself (`registryd.content.sharing.Receiving` knows)."""

    async def find(self, digest: Digest) -> Content:
        """The content that has begun to arrive here. Raises ContentUnavailable."""

    async def find_moving(self, digest: Digest) -> Content:
        """The content of which something has come lately. Raises ContentUnavailable."""


@dataclass(frozen=True, slots=True)
class Blob:
    digest: Digest
    size: int


@dataclass(slots=True)
class ExpectedPull:
    """One image. `blobs` in the manifest's order; `seen_at`: when the manifest came by, or a blob was asked for.

    `repository` is that of the manifest, for which its blobs will be wanted.
    """

    blobs: Sequence[Blob]
    repository: Repository | None
    seen_at: float
    is_first: bool = False
    """Whether nobody had claimed the manifest before this node."""
    asked_at: float | None = None
    moved_at: float = -math.inf
    """When some of it was last seen to arrive."""
    lines_up: bool = False
    by_digest: dict[Digest, int] = field(default_factory=dict)
    intended: set[Digest] = field(default_factory=set)
    """What others have been told that this node is going to fetch."""


class Pulls:
    """The latest images, by the digests of their blobs."""

    def __init__(self, own: Receiving, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` is called when there is another one, or containerd has begun with it."""
        self._own = own
        self._tell = tell
        self._pulls: OrderedDict[Digest, ExpectedPull] = OrderedDict()
        # Of each blob, the latest first: images share layers.
        self._of: dict[Digest, tuple[ExpectedPull, ...]] = {}
        self._arrivals_changed = asyncio.Event()
        self.arrivals = 0
        """How often something has begun or ended to arrive."""

    def knows(self, digest: Digest) -> bool:
        """Whether the digest is a blob of an image whose manifest came."""
        return digest in self._of

    def learn(self, sought: Sought, manifest: Manifest, *, is_first: bool = False) -> None:
        """Note that this manifest came for that name; `is_first`: no node had claimed it before this one."""
        children = [child for child in manifest.children if not is_manifest_type(child.media_type)]
        blobs = [Blob(child.digest, child.size) for child in children[:_MOST_BLOBS]]
        if not blobs:
            return
        pull = self._lately(sought.digest)
        if pull is None or pull.repository != sought.repository:
            by_digest = {blob.digest: place for place, blob in enumerate(blobs)}
            pull = ExpectedPull(blobs, sought.repository, clock.now(), by_digest=by_digest)
        pull.seen_at, pull.is_first = clock.now(), pull.is_first or is_first
        self._forget(sought.digest)
        self._remember(sought.digest, pull)
        if len(self._pulls) > _REMEMBERED:
            self._forget(next(iter(self._pulls)))
        self._tell()

    def asked(self, digest: Digest, *, lines_up: bool) -> None:
        """Note that containerd has asked for this blob."""
        for pull in self._candidates(digest):
            pull.seen_at, pull.lines_up = clock.now(), lines_up
            if pull.asked_at is None:
                pull.asked_at = clock.now()
                self._tell()

    def current(self) -> Iterator[ExpectedPull]:
        """The pulls at which containerd may be."""
        return (pull for pull in tuple(self._pulls.values()) if _is_current(pull))

    def arrivals_changed(self) -> None:
        """Wake the waiting tasks: containerd has begun or ended to receive content."""
        self.arrivals += 1
        self._arrivals_changed.set()
        self._arrivals_changed.clear()

    async def wait_arrivals(self, seen: int) -> None:
        """Return when that has happened oftener than `seen` times, as `arrivals` counts."""
        if self.arrivals == seen:
            await self._arrivals_changed.wait()

    def provenance(self, digest: Digest) -> Provenance:
        """The repositories whose manifests name this blob; for what is expected, and has not come."""
        return Provenance(frozenset(pull.repository for pull in self._candidates(digest) if pull.repository))

    async def expects(self, digest: Digest) -> GrowingContent | None:
        """Content of which nothing has come, and that containerd is going to fetch; None when it is not."""
        for pull in self._candidates(digest):
            place = pull.by_digest[digest]
            if await self._expects(pull, place):
                return GrowingContent(digest, pull.blobs[place].size, None, 0)
        return None

    async def is_moving(self, digest: Digest) -> bool:
        """Whether something of it has come lately."""
        try:
            return (await self._own.find_moving(digest)).is_growing
        except ContentUnavailable:
            return False

    async def _expects(self, pull: ExpectedPull, place: int) -> bool:
        try:
            content = await self._own.find(pull.blobs[place].digest)
        except ContentUnavailable:
            return await self._is_to_begin(pull, place)
        return content.is_growing and await self._is_alive(pull)

    async def _is_to_begin(self, pull: ExpectedPull, place: int) -> bool:
        if (pull.asked_at or pull.seen_at) >= clock.now() - _BEGINNING_SECONDS:
            return True
        if pull.lines_up or pull.asked_at is None:  # all that it wants has begun by now
            return False
        for blob in pull.blobs[place + 1 :]:
            if await self._has_begun(blob.digest):
                return False  # it was passed over
        return await self._is_alive(pull)

    async def _is_alive(self, pull: ExpectedPull) -> bool:
        if pull.seen_at >= clock.now() - GROWING_STALL_TIMEOUT or pull.moved_at >= clock.now() - _BELIEVED_SECONDS:
            return True
        for blob in pull.blobs:
            if await self.is_moving(blob.digest):
                pull.moved_at = clock.now()
                return True
        return False

    async def _has_begun(self, digest: Digest) -> bool:
        try:
            await self._own.find(digest)
        except ContentUnavailable:
            return False
        return True

    def _lately(self, digest: Digest) -> ExpectedPull | None:
        """The pull of the manifest, if it came by a moment ago: it is read more than once for one pull."""
        pull = self._pulls.get(digest)
        if pull is None or not _is_current(pull):
            return None
        if pull.lines_up:
            pull.asked_at = None  # if it is another pull after all, all of it begins now
        return pull

    def _candidates(self, digest: Digest) -> list[ExpectedPull]:
        """The pulls for which containerd may want the blob: the latest, and others at which it may still be."""
        latest, *others = self._of.get(digest) or (None,)
        return [pull for pull in (latest, *others) if pull and (pull is latest or _is_current(pull))]

    def _remember(self, digest: Digest, pull: ExpectedPull) -> None:
        self._pulls[digest] = pull
        for blob in pull.by_digest:
            self._of[blob] = (pull, *self._of.get(blob, ()))

    def _forget(self, digest: Digest) -> None:
        pull = self._pulls.pop(digest, None)
        for blob in pull.by_digest if pull else ():
            others = tuple(other for other in self._of.pop(blob) if other is not pull)
            if others:
                self._of[blob] = others


def _is_current(pull: ExpectedPull) -> bool:
    return pull.seen_at >= clock.now() - _PULL_SECONDS
