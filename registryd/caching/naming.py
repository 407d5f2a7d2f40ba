"""Names in the store: written when their content is there, so that the cache can answer them without the upstream.

An image that is pulled by tag is named by the tag. An image that is pulled by digest is named by the digest, so that it
is exported and pinned like others. A manifest to which a tag or an index has just led is no image of its own, and gets
no name.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.reference import DigestedName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.caching.filing import Filing
    from registryd.caching.keeping import CacheStore
    from registryd.content.source import NamedContent
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName, Repository, TaggedName

_log = logging.getLogger(__name__)

# Tags that were resolved and whose manifest has not come yet; clients fetch it within seconds.
_MOST_AWAITED: Final = 4096
# Manifests that are about to be asked for because a tag or an index led to them; some ten for each image.
_MOST_LED_TO: Final = 16384


class TagFiling:
    """Remembers which tags lead to manifests that are about to come, and which manifests something leads to."""

    def __init__(self, store: CacheStore, filing: Filing) -> None:
        self._store = store
        self._filing = filing
        self._awaited: Recent[Digest, set[TaggedName]] = Recent(_MOST_AWAITED)
        self._led_to: Recent[DigestedName, bool] = Recent(_MOST_LED_TO)

    async def latest(self, name: FullName) -> NamedContent | None:
        """The last meaning of the name, if its content is here."""
        try:
            known = await self._store.resolve(name)
        except ContentUnavailable:
            return None
        return max(known, key=lambda meaning: meaning.seen_at, default=None)

    async def learnt(self, name: TaggedName, target: Descriptor, *, latest: NamedContent | None) -> None:
        """The upstream says that the name means this; it meant `latest`."""
        self.leads_to(name.repository, (target.digest,))
        if latest is not None and latest.target.digest == target.digest:
            return
        try:
            await self._filing.find(name.repository, target.digest)
        except ContentUnavailable:
            self._awaited.get_or_put(target.digest, set).add(name)
        else:
            await self.name({name}, target)

    def take_names(self, repository: Repository, digest: Digest) -> set[FullName]:
        """The names of a manifest from its registry's repository that is about to be stored."""
        awaited = self._awaited.get(digest) or set()
        own = {name for name in awaited if name.repository == repository}
        awaited -= own
        if not awaited:
            self._awaited.drop(digest)
        names: set[FullName] = {*own}
        if not self.is_led_to(repository, digest):
            names.add(DigestedName(repository, digest))
        return names

    async def name_awaited(self, target: Descriptor) -> None:
        """Name the manifest also by tags that were resolved while it was being stored."""
        if awaited := self._awaited.get(target.digest):
            self._awaited.drop(target.digest)
            await self.name(awaited, target)

    def leads_to(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Note that a named manifest led to these: a client that asks for one next learnt of it there."""
        for digest in digests:
            self._led_to.put(DigestedName(repository, digest), True)  # noqa: FBT003 - a set with a bound

    def is_led_to(self, repository: Repository, digest: Digest) -> bool:
        """Whether it needs no name of its own."""
        return self._led_to.get(DigestedName(repository, digest)) is not None

    async def name(self, names: Iterable[FullName], target: Descriptor) -> None:
        """Give this name to content that is here."""
        try:
            await self._store.name(dict.fromkeys(names, target))
        except ContentNotFound:
            _log.debug("%s was evicted before it was named", target.digest)
        except ContentUnavailable as error:
            _log.warning("a name could not be stored: %s", error)
