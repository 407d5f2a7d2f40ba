"""Which tags a repository has: as the upstream says, or those that are here when it says nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlencode

from registryd.config.cache import TagMode
from registryd.content.lookup import Hit, Origin
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import is_referrers_tag
from registryd.serving.listing import ListedTags
from registryd.upstream.errors import UpstreamDenied, UpstreamFailed, UpstreamMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.caching.keeping import Keeper
    from registryd.caching.registries import Registries
    from registryd.caching.upstreams import Upstreams
    from registryd.oci.reference import Repository, Tag

_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class TagLists:
    """Asks the upstream each time; nothing of the answer is kept."""

    def __init__(self, store: Keeper, registries: Registries, upstreams: Upstreams) -> None:
        self._store = store
        self._registries = registries
        self._upstreams = upstreams

    async def list(self, repository: Repository, query: str) -> Hit[ListedTags]:
        """The tags that the query asks for. Raises ContentUnavailable."""
        registry = repository.registry
        if self._registries.tag_rule(registry).mode is TagMode.DIGESTS:
            raise ContentNotFound(f"tags of {registry} are not answered here")
        known = await self.known(repository) if self._upstreams.must_wait(registry) else ()
        if known:
            return Hit(Origin.LOCAL, _part(known, query), "the upstream is left alone for a while")
        try:
            page = await self._upstreams.tags(repository, query)
        except (UpstreamMissing, UpstreamDenied):
            raise  # the upstream's own word
        except UpstreamFailed as error:
            known = await self.known(repository)
            if not known:
                raise
            return Hit(Origin.LOCAL, _part(known, query), str(error))
        return Hit(Origin.UPSTREAM, ListedTags(page.tags, page.next_query))

    async def stored(self, repository: Repository, query: str) -> Hit[ListedTags]:
        """Those that are here. Raises ContentUnavailable."""
        known = await self.known(repository)
        if not known:
            raise ContentUnavailable("no tag of it is here")
        return Hit(Origin.LOCAL, _part(known, query))

    async def known(self, repository: Repository) -> Sequence[Tag]:
        """Those that are here, in order, without those that the repository itself may not have."""
        names = await self._store.names()
        tags = {name.tag for name in names if isinstance(name, TaggedName) and name.repository == repository}
        return sorted(tag for tag in tags if not is_referrers_tag(tag))


def _part(tags: Sequence[Tag], query: str) -> ListedTags:
    """So many after the last one (distribution-spec, "Listing Tags")."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    after = [tag.name for tag in tags if tag.name > asked.get("last", "")]
    count = int(asked["n"]) if _COUNT.fullmatch(asked.get("n", "")) else len(after)
    part = after[:count]
    is_all = len(part) == len(after) or not part
    return ListedTags(part, "" if is_all else urlencode({"n": count, "last": part[-1]}))
