"""From a request's path to content: whether the client may ask, what a tag means, which source has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from registryd.aio.bound import bounded
from registryd.content.completeness import require_all
from registryd.content.lookup import NoSource
from registryd.content.sought import Sought
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.digest import Digest
from registryd.oci.errors import BlobUnknown, ManifestUnknown, OciError, about
from registryd.oci.manifest import is_manifest_type
from registryd.oci.reference import Tag, TaggedName
from registryd.serving.paths import BlobPath, ManifestPath
from registryd.serving.policy import Ruling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from registryd.content.lookup import Hit, Lookup
    from registryd.content.names import NameLookup
    from registryd.content.source import Content, OpenContent, RangeOf
    from registryd.oci.platform import Platform
    from registryd.serving.paths import ContentPath
    from registryd.serving.policy import ResolvePolicy

T = TypeVar("T")


class Unlocated(Exception):
    """The content is not given: `error` is the answer; `is_miss` tells a plain no from a failed or timed-out search."""

    def __init__(self, error: OciError, *, is_miss: bool, why: str = "", cache_status: str = "") -> None:
        """`cache_status`: a cache's Cache-Status, if it has to do with one."""
        super().__init__(str(error))
        self.error = error
        error.cache_status = error.cache_status or cache_status
        self.is_miss = is_miss
        self.why = why or ("nobody had it" if is_miss else "the search failed")
        """For people, in a few words."""


class PathLocator:
    """Finds what a path means and opens it; everything but a hit is Unlocated."""

    def __init__(
        self,
        *,
        lookup: Lookup,
        names: NameLookup,
        policy: ResolvePolicy,
        first_byte_timeout_seconds: float,
        platforms: Collection[Platform] = (),
    ) -> None:
        """`platforms` is what this machine runs: of other images of an index, clients that stay need nothing.

        `first_byte_timeout_seconds` bounds a whole search, from the policy's answer to the first byte.

        Except for the time that a source spends off the clock (`registryd.aio.bound`): waiting for a node that is
        visibly fetching the content.
        """
        self._lookup = lookup
        self._names = names
        self._policy = policy
        self._timeout_seconds = first_byte_timeout_seconds
        self._platforms = platforms

    async def find(self, path: ContentPath) -> Hit[Content]:
        """The answer to a HEAD. Raises Unlocated."""
        return await self._within_bound(path, self._find(path))

    async def open(self, path: ContentPath, wanted: RangeOf) -> Hit[OpenContent]:
        """The answer to a GET; the caller closes its body. Raises Unlocated, or RangeInvalid."""
        return await self._within_bound(path, self._open(path, wanted))

    async def _within_bound(self, path: ContentPath, search: Awaitable[T]) -> T:
        try:
            async with bounded(self._timeout_seconds):
                return await search
        except TimeoutError as error:
            reason = f"no first byte within {self._timeout_seconds:g} s"
            raise Unlocated(_unknown(path, reason), is_miss=False, why=reason) from error

    async def _find(self, path: ContentPath) -> Hit[Content]:
        self._require_served(path)
        ruling = await self._ruling(path)
        search = _Search(path)
        for sought in await self._sought(path, ruling):
            hit = await search.attempt(self._find_one(path, sought))
            if hit and search.accepts(hit.value, is_described=True):
                return hit
        raise search.failure()

    async def _open(self, path: ContentPath, wanted: RangeOf) -> Hit[OpenContent]:
        self._require_served(path)
        ruling = await self._ruling(path) if isinstance(path.reference, Tag) else Ruling.ANYTHING
        search = _Search(path)
        for sought in await self._sought(path, ruling):
            hit = await search.attempt(self._open_one(path, sought, wanted))
            if hit and search.accepts(hit.value.content):
                return hit
            if hit:
                await hit.value.body.aclose()
        raise search.failure()

    async def _find_one(self, path: ContentPath, sought: Sought) -> Hit[Content]:
        await self._require_all(path, sought)
        return await self._lookup.find(sought)

    async def _open_one(self, path: ContentPath, sought: Sought, wanted: RangeOf) -> Hit[OpenContent]:
        await self._require_all(path, sought)
        return await self._lookup.open(sought, wanted)

    async def _require_all(self, path: ContentPath, sought: Sought) -> None:
        """A client that goes nowhere else for the blobs is given no manifest without them."""
        if isinstance(path, ManifestPath) and path.stays:
            # Its blobs may be those of the registry's other repositories, as when they are asked for.
            source = self._lookup.as_source(replace(sought, only_own=False))
            await require_all(sought.digest, source, self._platforms)

    def _require_served(self, path: ContentPath) -> None:
        if not self._policy.may_serve(path.repository, path.reference):
            excluded = _unknown(path, f"{path.repository} is excluded here")
            raise Unlocated(excluded, is_miss=True, why="it is excluded or blocked here")

    async def _ruling(self, path: ContentPath) -> Ruling:
        """What may be said of the path; raises Unlocated when that is nothing."""
        if isinstance(path, BlobPath):
            ruling = Ruling.ANYTHING if self._policy.may_describe(path.repository) else Ruling.NOTHING
        else:
            ruling = await self._policy.may_resolve(path.repository, path.reference)
        if ruling is Ruling.NOTHING:
            raise Unlocated(_unknown(path, f"{path.repository.registry} itself says who may pull this"), is_miss=True)
        return ruling

    async def _sought(self, path: ContentPath, ruling: Ruling) -> Sequence[Sought]:
        """The contents that the path may mean, best first."""
        digests = await self._digests(path)
        only_own, is_open = ruling is Ruling.WHAT_IS_ITS_OWN, self._policy.is_open(path.repository.registry)
        return [Sought(digest, path.repository, only_own=only_own, accepts_unsaid=is_open) for digest in digests]

    async def _digests(self, path: ContentPath) -> Sequence[Digest]:
        """The digests that the path may mean, best first."""
        if isinstance(path.reference, Digest):
            return (path.reference,)
        known = await self._names.resolve(TaggedName(path.repository, path.reference))
        return [named.target.digest for named in known]


class _Search:
    """The attempts to find what one path means, and why none of them led to it."""

    def __init__(self, path: ContentPath) -> None:
        self._path = path
        self._reason = "no tag of that name is known here"
        self._is_miss = True

    async def attempt(self, search: Awaitable[Hit[T]]) -> Hit[T] | None:
        try:
            return await search
        except ContentUnavailable as error:
            self._reason = str(error)
            is_miss = error.is_miss if isinstance(error, NoSource) else isinstance(error, ContentNotFound)
            self._is_miss = self._is_miss and is_miss
            return None

    def accepts(self, content: Content, *, is_described: bool = False) -> bool:
        """Whether content that was found fits the endpoint: below /manifests/ there are manifests only.

        containerd asks HEAD blobs/<digest> when the manifest of that digest was refused: none is described there.
        """
        is_manifest = is_manifest_type(content.media_type)
        if not (is_manifest and is_described) if isinstance(self._path, BlobPath) else is_manifest:
            return True
        self._reason = "that content is a manifest" if is_manifest else "that content is not a manifest"
        return False

    def failure(self) -> Unlocated:
        return Unlocated(_unknown(self._path, self._reason), is_miss=self._is_miss)


def _unknown(path: ContentPath, reason: str) -> OciError:
    text = about(str(path.reference), reason)
    return BlobUnknown(text) if isinstance(path, BlobPath) else ManifestUnknown(text)
