"""The meaning of a tag now: as the upstream says, as it said a while ago, or as it said last when it is silent."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from registryd.aio.recent import Recent
from registryd.aio.shared import Shared
from registryd.caching.absences import AbsentLately
from registryd.config.cache import TagMode
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.descriptor import Descriptor
from registryd.oci.manifest import is_manifest_type
from registryd.upstream.errors import HeadRefused, UpstreamDenied, UpstreamMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.aio.scope import Scope
    from registryd.caching.absences import Absences
    from registryd.caching.manifests import Fetched, Manifests
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.naming import TagFiling
    from registryd.caching.patience import CachePatience
    from registryd.caching.registries import Registries
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import NamedContent
    from registryd.oci.reference import TaggedName

_log = logging.getLogger(__name__)

_MOST_TRUSTED: Final = 4096


@dataclass(frozen=True, slots=True)
class TagMeaning:
    """The meaning of a tag. `stale` says why the meaning may be out of date; `fetched` is content that came with it."""

    target: Descriptor
    stale: str | None = None
    fetched: Fetched | None = None


class Tags:
    """Resolves tags as each registry's rule says."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        registries: Registries,
        upstreams: Upstreams,
        manifests: Manifests,
        naming: TagFiling,
        absences: Absences,
        *,
        scope: Scope,
        metrics: CacheMetrics,
        clock: Callable[[], float],
        patience: CachePatience,
    ) -> None:
        self._registries = registries
        self._upstreams = upstreams
        self._manifests = manifests
        self._naming = naming
        self._absences = absences
        self._metrics = metrics
        self._clock = clock
        self._patience = patience
        self._checks: Shared[TaggedName, TagMeaning] = Shared(scope)
        self._trusted: Recent[TaggedName, tuple[float, Descriptor]] = Recent(_MOST_TRUSTED)

    async def resolve(self, name: TaggedName, *, fetches: bool = False) -> TagMeaning:
        """The meaning of the tag. Raises ContentUnavailable.

        `fetches`: its manifest is wanted as well, so for a name that is not known it is asked for at once.
        """
        rule = self._registries.tag_rule(name.repository.registry)
        match rule.mode:
            case TagMode.DIGESTS:
                raise ContentNotFound(f"tags of {name.repository.registry} are not answered here")
            case TagMode.TRUST:
                trusted = self._trusted.get(name)
                if trusted and self._clock() - trusted[0] < rule.trust_seconds:
                    return TagMeaning(trusted[1])
                return await self._check(name, fetches=fetches)
            case TagMode.CHECK:
                return await self._check(name, fetches=fetches)
        assert_never(rule.mode)

    async def _check(self, name: TaggedName, *, fetches: bool) -> TagMeaning:
        latest = await self._naming.latest(name)
        is_known = latest is not None or self._absences.age(name) is not None
        if is_known and self._upstreams.must_wait(name.repository.registry):
            return self._last_known(name, latest, "the upstream is left alone for a while")
        try:
            async with asyncio.timeout(self._patience.tags if is_known else None):
                ask = partial(self._ask, name, latest) if latest or not fetches else partial(self._fetch, name)
                meaning = await self._checks.get(name, ask, name=f"check {name}")
        except UpstreamMissing:
            await self._absences.said(name)
            raise
        except UpstreamDenied:
            raise  # the upstream's own word
        except (ContentUnavailable, TimeoutError) as error:
            if not is_known:
                raise
            why = str(error) or f"no answer within {self._patience.tags:g} s"
            return self._last_known(name, latest, why, error)
        self._absences.forget(name)
        return meaning

    async def _ask(self, name: TaggedName, latest: NamedContent | None) -> TagMeaning:
        known = latest.target.digest if latest else None
        try:
            head = await self._upstreams.head_manifest(name.repository, name.tag, known=known)
        except HeadRefused:
            return await self._fetch(name)
        if latest and head.is_unchanged:
            target = latest.target
        elif head.digest and head.size is not None and head.media_type and is_manifest_type(head.media_type):
            target = Descriptor(head.media_type, head.digest, head.size)
        else:
            return await self._fetch(name)
        self._trusted.put(name, (self._clock(), target))
        await self._naming.learnt(name, target, latest=latest)
        return TagMeaning(target)

    async def _fetch(self, name: TaggedName) -> TagMeaning:
        fetched = await self._manifests.fetch_tag(name.repository, name.tag)
        self._trusted.put(name, (self._clock(), fetched.target))
        return TagMeaning(fetched.target, fetched=fetched)

    def _last_known(
        self, name: TaggedName, latest: NamedContent | None, why: str, failure: BaseException | None = None
    ) -> TagMeaning:
        """The latest known meaning of the tag. Raises AbsentLately when the tag was absent."""
        self._metrics.stale()
        _log.info("the last known answer about a tag is used", extra={"image": str(name), "why": why})
        if latest is None:
            raise AbsentLately(name, self._absences.age(name) or 0.0, why, failure)
        return TagMeaning(latest.target, stale=why)
