"""The tags of a repository: as the upstream says, or the tags in the store when it does not answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlencode

from registryd.config.cache import TagMode
from registryd.content.lookup import Hit, Origin
from registryd.content.reading import read_content
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import EMPTY, is_referrers_tag, parse_referrers, render_referrers
from registryd.serving.listing import ListedTags
from registryd.upstream.errors import UpstreamDenied, UpstreamFailed, UpstreamMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.caching.keeping import CacheStore
    from registryd.caching.naming import TagFiling
    from registryd.caching.registries import Registries
    from registryd.caching.upstreams import Upstreams
    from registryd.oci.reference import Repository, Tag

_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class TagLists:
    """Asks the upstream each time; nothing of the answer is kept."""

    def __init__(self, store: CacheStore, naming: TagFiling, registries: Registries, upstreams: Upstreams) -> None:
        self._store = store
        self._naming = naming
        self._registries = registries
        self._upstreams = upstreams

    async def list(self, repository: Repository, query: str) -> Hit[ListedTags]:
        """The tags that the query asks for. Raises ContentUnavailable."""
        registry = repository.registry
        if self._registries.tag_rule(registry).mode is TagMode.DIGESTS:
            raise ContentNotFound(f"tags of {registry} are not answered here")
        known = await self.known(repository) if self._upstreams.must_wait(registry) else None
        if known is not None:
            return Hit(Origin.LOCAL, _part(known, query), "the upstream is left alone for a while")
        try:
            page = await self._upstreams.tags(repository, query)
        except (UpstreamMissing, UpstreamDenied):
            raise  # the upstream's own word
        except UpstreamFailed as error:
            known = await self.known(repository)
            if known is None:
                raise
            return Hit(Origin.LOCAL, _part(known, query), str(error))
        return Hit(Origin.UPSTREAM, ListedTags(page.tags, page.next_query))

    async def stored(self, repository: Repository, query: str) -> Hit[ListedTags]:
        """Those that are here. Raises ContentUnavailable."""
        known = await self.known(repository)
        if known is None:
            raise ContentUnavailable("nothing of it is here")
        return Hit(Origin.LOCAL, _part(known, query))

    async def known(self, repository: Repository) -> Sequence[Tag] | None:
        """Those that are here, in order; None if nothing of the repository has a name, so that nothing is known."""
        own = [name for name in await self._store.names() if name.repository == repository]
        tagged = [name for name in own if isinstance(name, TaggedName)]
        return sorted([name.tag for name in tagged if await self._is_the_registrys(name)]) if own else None

    async def _is_the_registrys(self, name: TaggedName) -> bool:
        """Whether the registry has the tag. Lists of the referrers API have a tag in the cache only."""
        if not is_referrers_tag(name.tag):
            return True
        latest = await self._naming.latest(name)
        if latest is None or latest.target.digest.verifies(EMPTY):
            return False
        try:
            data = await read_content(self._store, latest.target.digest, limit=MAX_MANIFEST_SIZE)
            # Byte for byte as the cache writes such lists, and no other program does.
            return render_referrers(parse_referrers(data)) != data
        except (ContentUnavailable, ManifestInvalid):
            return True


def _part(tags: Sequence[Tag], query: str) -> ListedTags:
    """So many tags after the last tag of the part before (distribution-spec, "Listing Tags")."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    after = [tag.name for tag in tags if tag.name > asked.get("last", "")]
    count = int(asked["n"]) if _COUNT.fullmatch(asked.get("n", "")) else len(after)
    part = after[:count]
    is_all = len(part) == len(after) or not part
    return ListedTags(part, "" if is_all else urlencode({"n": count, "last": part[-1]}))
