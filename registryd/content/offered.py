"""This node's store as the agent offers it: without the copies that turned out to be bad, with trial images."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from registryd.content.provenance import Provenance
from registryd.content.source import Content, ContentNotFound, OpenContent
from registryd.content.trial import Trials
from registryd.transfer.body import BytesBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.content.provenance import NamedStore
    from registryd.content.source import NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName

_log = logging.getLogger(__name__)


class OfferedStore:
    """A store without the withdrawn content: for all doors, those for peers and those for containerd."""

    def __init__(
        self, store: NamedStore, trials: Trials | None = None, *, set_aside: Callable[[Digest], Awaitable[None]]
    ) -> None:
        """`set_aside` takes a bad copy out of the store, where the store is ours to change."""
        self._store = store
        self._trials = trials or Trials()
        self._set_aside = set_aside
        self._withdrawn: set[Digest] = set()

    async def withdraw(self, digest: Digest) -> None:
        """Do not give this copy any more. A copy that replaces it is given again."""
        self._withdrawn.add(digest)
        _log.error("this node's copy of %s is corrupt; the agent gives it to no client and no peer any more", digest)
        await self._set_aside(digest)

    async def find(self, digest: Digest) -> Content:
        if trial := self._trials.get(digest):
            media_type, data = trial
            return Content(digest, len(data), media_type)
        await self._require_sound(digest)
        return await self._store.find(digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        if trial := self._trials.get(digest):
            media_type, data = trial
            span = wanted(len(data))
            return OpenContent(Content(digest, len(data), media_type), span, BytesBody(data[span.start : span.stop]))
        await self._require_sound(digest)
        return await self._store.open(digest, wanted)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._store.resolve(name)

    async def provenance(self, content: Content) -> Provenance:
        """A trial image has no repository: an image made from a word has no owner, and the operator chose its name."""
        if self._trials.get(content.digest):
            return Provenance(is_nobodys=True)
        return await self._store.provenance(content)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return self._store.namers(digest)

    async def _require_sound(self, digest: Digest) -> None:
        if digest not in self._withdrawn:
            return
        try:
            await self._store.find(digest)
        except ContentNotFound:
            self._withdrawn.discard(digest)  # the bad copy is gone: whatever comes next is another one
            raise
        raise ContentNotFound(f"the copy of {digest} here is corrupt")
