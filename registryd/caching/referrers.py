"""The referrers of an image: as the upstream says now, or as it said last when it does not answer.

The cache keeps the list under the tag that the list would have at a registry without a referrers API. So the list goes
wherever names go: to peers, and into archives.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.aio.shared import Shared
from registryd.caching.absences import AbsentLately
from registryd.config.cache import TagMode
from registryd.content.lookup import Hit, Origin
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import EMPTY, parse_referrers, referrers_tag
from registryd.upstream.errors import UpstreamBroken, UpstreamDenied, UpstreamFailed, UpstreamMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.aio.scope import Scope
    from registryd.caching.filing import Filing
    from registryd.caching.manifests import Manifests
    from registryd.caching.naming import TagFiling
    from registryd.caching.patience import CachePatience
    from registryd.caching.registries import Registries
    from registryd.caching.tags import Tags
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import NamedContent
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository

_log = logging.getLogger(__name__)

_MOST_TRUSTED: Final = 4096
# How registries answer that do not have the API: 404 by the specification, and whatever else they say to what they do
# not know.
_NO_API: Final = (UpstreamMissing, UpstreamDenied, UpstreamBroken)


class Referrers:
    """Lists what is attached, as each registry's rule for tags says."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that meet here
        self,
        filing: Filing,
        registries: Registries,
        upstreams: Upstreams,
        manifests: Manifests,
        tags: Tags,
        naming: TagFiling,
        *,
        scope: Scope,
        clock: Callable[[], float],
        patience: CachePatience,
    ) -> None:
        self._filing = filing
        self._registries = registries
        self._upstreams = upstreams
        self._manifests = manifests
        self._tags = tags
        self._naming = naming
        self._clock = clock
        self._patience = patience
        self._asked: Shared[TaggedName, Hit[bytes]] = Shared(scope)
        self._trusted: Recent[TaggedName, float] = Recent(_MOST_TRUSTED)

    async def list(self, repository: Repository, subject: Digest) -> Hit[bytes]:
        """The list as an index. Raises ContentUnavailable."""
        name = TaggedName(repository, referrers_tag(subject))
        rule = self._registries.tag_rule(repository.registry)
        if rule.mode is TagMode.DIGESTS:
            raise ContentNotFound(f"what changes at {repository.registry} is not answered here")
        latest = await self._naming.latest(name)
        if latest is None:
            return await self._asked.get(name, partial(self._ask, name, subject, None), name=f"ask for {name}")
        asked_at = self._trusted.get(name) if rule.mode is TagMode.TRUST else None
        if asked_at is not None and self._clock() - asked_at < rule.trust_seconds:
            return await self._known(repository, latest, None)
        if self._upstreams.must_wait(repository.registry):
            return await self._known(repository, latest, "the upstream is left alone for a while")
        try:
            async with asyncio.timeout(self._patience.tags):
                return await self._asked.get(name, partial(self._ask, name, subject, latest), name=f"ask for {name}")
        except (UpstreamMissing, UpstreamDenied):
            raise  # the upstream's own word
        except (ContentUnavailable, TimeoutError) as error:
            return await self._known(repository, latest, str(error) or f"no answer within {self._patience.tags:g} s")

    async def stored(self, repository: Repository, subject: Digest) -> Hit[bytes]:
        """The list as it was last. Raises ContentUnavailable."""
        name = TaggedName(repository, referrers_tag(subject))
        latest = await self._naming.latest(name)
        if latest is None:
            raise ContentUnavailable("what is attached to it is not known here")
        return await self._known(repository, latest, None)

    async def _known(self, repository: Repository, latest: NamedContent, stale: str | None) -> Hit[bytes]:
        data = await self._manifests.read_stored(repository, latest.target.digest)
        try:
            parse_referrers(data)
        except ManifestInvalid as error:
            raise ContentNotFound(str(error)) from error
        return Hit(Origin.LOCAL, data, stale)

    async def _ask(self, name: TaggedName, subject: Digest, latest: NamedContent | None) -> Hit[bytes]:
        try:
            data = await self._upstreams.referrers(name.repository, subject)
        except _NO_API as reason:
            _log.debug("no referrers API", extra={"image": str(name), "why": str(reason)})
            if hit := await self._by_tag(name):
                return hit
            if latest is not None and not isinstance(reason, UpstreamMissing):
                raise  # it may be out of order: what is known is worth more
            data = EMPTY
        self._trusted.put(name, self._clock())
        await self._keep(name, subject, data, latest)
        return Hit(Origin.UPSTREAM, data)

    async def _by_tag(self, name: TaggedName) -> Hit[bytes] | None:
        """The list of a registry without the API; None when there is no list. The rules of tags hold for this tag."""
        try:
            meaning = await self._tags.resolve(name, fetches=True)
        except AbsentLately as absent:
            # Of the tag, and the registry cannot be asked now: that there is no list is not known from that.
            raise (
                absent.failure if isinstance(absent.failure, UpstreamFailed) else ContentUnavailable(absent.why)
            ) from None
        except ContentNotFound:
            return None
        digest, fetched = meaning.target.digest, meaning.fetched
        data = fetched.data if fetched else await self._manifests.read(name.repository, digest, fetches=True)
        try:
            parse_referrers(data)
        except ManifestInvalid:
            return None
        return Hit(Origin.UPSTREAM, data, meaning.stale)

    async def _keep(self, name: TaggedName, subject: Digest, data: bytes, latest: NamedContent | None) -> None:
        if latest is not None and latest.target.digest.verifies(data):
            return
        # Anybody may ask for anything: that nothing is attached is remembered only of what there is.
        if latest is not None or data != EMPTY or await self._is_there(name.repository, subject):
            await self._manifests.take_in(name.repository, name, data)

    async def _is_there(self, repository: Repository, subject: Digest) -> bool:
        try:
            await self._filing.find(repository, subject)
            return await self._upstreams.gives_manifest(repository, subject)
        except ContentUnavailable:
            return False
