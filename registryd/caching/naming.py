"""Names in the store: written when what they mean is there, so that they can be answered without the upstream."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.upstream.recent import Recent

if TYPE_CHECKING:
    from registryd.caching.keeping import Keeper
    from registryd.content.source import NamedContent
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName

_log = logging.getLogger(__name__)

# Tags that were resolved and whose manifest has not come yet; clients fetch it within seconds.
_MOST_AWAITED: Final = 4096


class Naming:
    """Remembers which tags lead to manifests that are about to come."""

    def __init__(self, store: Keeper) -> None:
        self._store = store
        self._awaited: Recent[Digest, set[TaggedName]] = Recent(_MOST_AWAITED)

    async def latest(self, name: TaggedName) -> NamedContent | None:
        """What the name meant last, if that is here."""
        try:
            known = await self._store.resolve(name)
        except ContentUnavailable:
            return None
        return max(known, key=lambda meaning: meaning.seen_at, default=None)

    async def learnt(self, name: TaggedName, target: Descriptor) -> None:
        """The upstream says that the name means this."""
        latest = await self.latest(name)
        if latest is not None and latest.target.digest == target.digest:
            return
        try:
            await self._store.find(target.digest)
        except ContentUnavailable:
            self._awaited.get_or_put(target.digest, set).add(name)
        else:
            await self._write({name}, target)

    async def arrived(self, target: Descriptor) -> None:
        """This manifest is here now."""
        names = self._awaited.get(target.digest)
        self._awaited.drop(target.digest)
        if names:
            await self._write(names, target)

    async def _write(self, names: set[TaggedName], target: Descriptor) -> None:
        try:
            await self._store.name(dict.fromkeys(names, target))
        except ContentNotFound:
            _log.debug("%s was evicted before it was named", target.digest)
        except ContentUnavailable as error:
            _log.warning("a name is not kept: %s", error)
