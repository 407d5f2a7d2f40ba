"""The referrers of an image, as far as this node and the cluster know.

They are for the time while a registry is away, because images may have to be verified then, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from registryd.aio.bound import bounded
from registryd.content.lookup import Hit
from registryd.content.reading import read_opened
from registryd.content.sought import Sought
from registryd.content.source import ContentUnavailable
from registryd.oci.errors import ManifestInvalid, ManifestUnknown, PathUnknown
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.ranges import Span
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import parse_referrers, referrers_tag
from registryd.serving.locating import Unlocated

if TYPE_CHECKING:
    from registryd.content.lookup import Lookup
    from registryd.content.names import NameLookup
    from registryd.serving.paths import ReferrersPath, TagsPath
    from registryd.serving.policy import ResolvePolicy


class KnownReferrers:
    """Lists of referrers that were fetched or imported, kept under the tags of registries without a referrers API."""

    def __init__(
        self, *, lookup: Lookup, names: NameLookup, policy: ResolvePolicy, first_byte_timeout_seconds: float
    ) -> None:
        self._lookup = lookup
        self._names = names
        self._policy = policy
        self._timeout_seconds = first_byte_timeout_seconds

    async def referrers(self, path: ReferrersPath, *, stored_only: bool) -> Hit[bytes]:  # noqa: ARG002 - all is
        """Raises Unlocated."""
        try:
            async with bounded(self._timeout_seconds):
                return await self._find(path)
        except TimeoutError as error:
            raise _unlocated(path, f"no answer within {self._timeout_seconds:g} s", is_miss=False) from error

    async def tags(self, path: TagsPath, query: str, *, stored_only: bool) -> NoReturn:  # noqa: ARG002
        """An agent knows some of them, which is worth nothing as a list."""
        raise Unlocated(PathUnknown("an agent does not list tags"), is_miss=True)

    async def _find(self, path: ReferrersPath) -> Hit[bytes]:
        repository, subject = path.repository, path.subject
        if not self._policy.may_serve(repository, subject):
            raise _unlocated(path, f"{repository} is excluded here")
        if not await self._policy.may_list(repository, subject):
            raise _unlocated(path, f"{repository.registry} itself says who may know")
        reason, is_open = "no list is known here", self._policy.is_open(repository.registry)
        for named in await self._names.resolve(TaggedName(repository, referrers_tag(subject))):
            try:
                return await self._read(Sought(named.target.digest, repository, only_own=True, accepts_unsaid=is_open))
            except (ContentUnavailable, ManifestInvalid) as error:
                reason = str(error)
        raise _unlocated(path, reason)

    async def _read(self, sought: Sought) -> Hit[bytes]:
        hit = await self._lookup.open(sought, Span.whole)
        data = await read_opened(hit.value, limit=MAX_MANIFEST_SIZE)
        parse_referrers(data)
        return Hit(hit.origin, data)


def _unlocated(path: ReferrersPath, reason: str, *, is_miss: bool = True) -> Unlocated:
    return Unlocated(ManifestUnknown(f"{path}: {reason}"), is_miss=is_miss)
