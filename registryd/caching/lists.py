"""Lists, for the door of a cache."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.oci.reference import Tag

if TYPE_CHECKING:
    from registryd.caching.bounds import Bounds
    from registryd.caching.referrers import Referrers
    from registryd.caching.tag_lists import TagLists
    from registryd.content.lookup import Hit
    from registryd.serving.listing import ListedTags
    from registryd.serving.paths import ReferrersPath, TagsPath

# The question to an upstream that shows whether an unknown repository is public.
_USUAL_TAG = Tag("latest")


class CacheLists:
    """The lists of upstreams and of the store that a client may have (`registryd.serving.listing.Lists`)."""

    def __init__(self, bounds: Bounds, referrers: Referrers, tags: TagLists) -> None:
        self._bounds = bounds
        self._referrers = referrers
        self._tags = tags

    async def referrers(self, path: ReferrersPath, *, stored_only: bool) -> Hit[bytes]:
        ask = self._referrers.stored if stored_only else self._referrers.list
        return await self._bounds.answer(path, path.subject, partial(ask, path.repository, path.subject), resolves=True)

    async def tags(self, path: TagsPath, query: str, *, stored_only: bool) -> Hit[ListedTags]:
        ask = self._tags.stored if stored_only else self._tags.list
        return await self._bounds.answer(path, _USUAL_TAG, partial(ask, path.repository, query), resolves=True)
