"""A registry's endpoints as one: asked in order, left alone when they ask for it, not believed where they lied."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from registryd.aio.recent import Recent
from registryd.transfer.allowance import Allowance
from registryd.upstream.contact import RegistryContact
from registryd.upstream.errors import HeadRefused, UpstreamFailed, UpstreamLimited, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.patience import CachePatience
    from registryd.caching.registries import Registries
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.upstream.answers import BlobStream, ManifestBytes, ManifestHead
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint, Site
    from registryd.upstream.lists import TagPage

T = TypeVar("T")

# Endpoints of the registries in use, and content that one of them gave wrong; both are named by requests.
_MOST_ENDPOINTS: Final = 256
_MOST_LIES: Final = 4096
# An upstream that sent wrong bytes is not asked for them for so long: a damaged file stays so until an operator has
# looked at it, a damaged connection does not.
_LIE_HOLDS_SECONDS: Final = 600.0
# After 429s that do not say for how long. Limits by the second are over by then: containerd, which asks again at once
# several times, gets through most of them. Those that are not are of minutes or hours (`contact`).
_FIRST_PAUSES: Final = (1.0, 2.0, 4.0)


class Upstreams:
    """A cache's questions to registries. Every method raises the kind of UpstreamFailed that occurred."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        client: RegistryClient,
        registries: Registries,
        *,
        metrics: CacheMetrics,
        clock: Callable[[], float],
        patience: CachePatience,
        allowance: Allowance | None = None,
    ) -> None:
        self.allowance = allowance or Allowance()
        """How quickly blobs may be taken from all of them together."""
        self._client = client
        self._registries = registries
        self._metrics = metrics
        self._clock = clock
        self._patience = patience
        self._contacts: Recent[Site, RegistryContact] = Recent(_MOST_ENDPOINTS)
        self._lies: Recent[tuple[Site, Digest], float] = Recent(_MOST_LIES)

    def is_named(self, registry: Registry) -> bool:
        """Whether the operator named the registry."""
        return self._registries.is_named(registry)

    async def head_manifest(
        self, repository: Repository, reference: Reference, *, known: Digest | None = None
    ) -> ManifestHead:
        """The manifest's descriptor, or that it is still the known one; costs no pull."""
        # Who has a known one does not wait.
        head = await self.ask(
            repository,
            lambda at: self._client.head_manifest(at, repository, reference, known=known),
            waits=known is None,
        )
        if self._registries.is_named(repository.registry):
            self._metrics.limit(repository.registry, head.rate_limit)
        return head

    async def gives_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Whether it says that the repository has the manifest. Raises UpstreamFailed."""
        try:
            head = await self.head_manifest(repository, digest)
        except HeadRefused:
            await self.get_manifest(repository, digest)
            return True
        return head.digest in {None, digest}

    async def get_manifest(self, repository: Repository, reference: Reference) -> ManifestBytes:
        """A manifest; by digest, its bytes are verified."""
        got = await self.ask(repository, lambda at: self._client.get_manifest(at, repository, reference))
        if self._registries.is_named(repository.registry):
            self._metrics.limit(repository.registry, got.rate_limit)
        return got

    async def referrers(self, repository: Repository, subject: Digest) -> bytes:
        """The list of what is attached to the subject, by the referrers API."""
        return await self.ask(repository, lambda at: self._client.get_referrers(at, repository, subject))

    async def tags(self, repository: Repository, query: str) -> TagPage:
        """The tags of the repository for which the query asks."""
        return await self.ask(repository, lambda at: self._client.list_tags(at, repository, query))

    async def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """The size of a blob in bytes; None when it is there and its size is not said."""
        return await self.ask(repository, lambda at: self._head_blob(at, repository, digest))

    async def _head_blob(self, endpoint: Endpoint, repository: Repository, digest: Digest) -> int | None:
        with suppress(HeadRefused):
            size = await self._client.head_blob(endpoint, repository, digest)
            if size is not None:
                return size
        # The head of a GET may tell what that of a HEAD did not.
        async with self._client.open_blob(endpoint, repository, digest) as stream:
            return stream.size

    def blob_at(  # noqa: PLR0913 - all but what it is are named
        self,
        endpoint: Endpoint,
        repository: Repository,
        digest: Digest,
        *,
        start: int,
        size: int | None,
        may_be_longer: bool,
    ) -> AbstractAsyncContextManager[BlobStream]:
        """A blob of one endpoint, to be used within `ask` for as long as the head takes."""
        return self._client.open_blob(endpoint, repository, digest, start=start, size=size, may_be_longer=may_be_longer)

    def blame(self, site: Site, digest: Digest) -> None:
        """Note that the upstream sent other bytes than those of the digest."""
        self._lies.put((site, digest), self._clock())

    def must_wait(self, registry: Registry) -> bool:
        """Whether all its endpoints are to be left alone now: they don't answer, or had enough of us."""
        return all(self._contact(place).is_quiet(self._clock()) for place in self._registries.places(registry))

    async def ask(
        self,
        repository: Repository,
        question: Callable[[Endpoint], Awaitable[T]],
        *,
        digest: Digest | None = None,
        waits: bool = True,
    ) -> T:
        """The first endpoint's answer that is one. When none is, the word of the registry's own address counts.

        `waits`: it is asked again when all that stands against it is a limit that is over in a moment.
        """
        until = self._clock() + self._patience.limited
        while True:
            try:
                return await self._ask_each(repository, question, digest)
            except UpstreamLimited:
                pause = self._limited_for(repository.registry)
                if not waits or self._clock() + pause > until:
                    raise
            await asyncio.sleep(pause)

    def _limited_for(self, registry: Registry) -> float:
        """The seconds after which the first of those that had enough of us may be asked again."""
        left = (self._contact(place).limited_until - self._clock() for place in self._registries.places(registry))
        return min((each for each in left if each > 0), default=0.0)

    async def _ask_each(
        self, repository: Repository, question: Callable[[Endpoint], Awaitable[T]], digest: Digest | None
    ) -> T:
        reasons: dict[Site, UpstreamFailed] = {}
        for endpoint in await self._order(repository, digest):
            try:
                answer = await self._ask_one(endpoint, question)
            except UpstreamFailed as reason:
                reasons[endpoint.site] = reason
            else:
                return answer
        own = self._registries.places(repository.registry)[-1].site
        word = reasons.pop(own if own in reasons else next(reversed(reasons)))
        for other in reasons.values():
            word.add_note(f"besides: {other}")
        raise word

    async def _order(self, repository: Repository, digest: Digest | None) -> Sequence[Endpoint]:
        """The upstreams that answered lately, then the others. An upstream that lied about the digest is left out.

        A single upstream is asked again: that costs nothing, and the operator may have mended it.
        """
        try:
            now, endpoints = self._clock(), await self._registries.endpoints(repository)
        except ValueError as error:  # the name came from a request, and is none that could be looked up
            raise UpstreamUnreachable(f"{repository.registry} is no host that can be asked") from error
        if len(endpoints) > 1:
            honest = [each for each in endpoints if digest is None or not self._has_lied(each, digest, now)]
            return sorted(honest or endpoints, key=lambda endpoint: self._contact(endpoint).quiet_until > now)
        return endpoints

    def _has_lied(self, endpoint: Endpoint, digest: Digest, now: float) -> bool:
        lied_at = self._lies.get((endpoint.site, digest))
        return lied_at is not None and now - lied_at <= _LIE_HOLDS_SECONDS

    async def _ask_one(self, endpoint: Endpoint, question: Callable[[Endpoint], Awaitable[T]]) -> T:
        contact = self._contact(endpoint)
        wait = contact.limited_until - self._clock()
        if wait > 0:
            raise UpstreamLimited(f"{contact.limited_because} (left alone since)", retry_after=wait)
        try:
            answer = await question(endpoint)
        except UpstreamFailed as failure:
            self._note(contact, failure)
            raise
        contact.answered(self._clock())
        self._metrics.answered(None)
        return answer

    def _note(self, contact: RegistryContact, failure: UpstreamFailed) -> None:
        self._metrics.answered(failure)
        match failure:
            case UpstreamUnreachable():
                contact.failed(self._clock())
            case UpstreamLimited():
                contact.limited(self._clock(), failure.retry_after, str(failure))
            case _:
                contact.answered(self._clock())

    def _contact(self, endpoint: Endpoint) -> RegistryContact:
        return self._contacts.get_or_put(endpoint.site, partial(RegistryContact, _FIRST_PAUSES))
