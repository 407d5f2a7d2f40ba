"""The counters of a cache, besides those of every agent."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from registryd.upstream.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from registryd.observability.prometheus import MetricsPage
    from registryd.oci.reference import Registry
    from registryd.upstream.errors import RateLimit, UpstreamFailed


class UpstreamOutcome(StrEnum):
    """How an upstream answered."""

    GIVEN = "given"
    MISSING = "missing"
    DENIED = "denied"
    LIMITED = "limited"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"


_ANSWERS: Final[tuple[tuple[type[UpstreamFailed], UpstreamOutcome], ...]] = (
    (UpstreamMissing, UpstreamOutcome.MISSING),
    (UpstreamDenied, UpstreamOutcome.DENIED),
    (UpstreamLimited, UpstreamOutcome.LIMITED),
    (UpstreamUnreachable, UpstreamOutcome.UNREACHABLE),
    (UpstreamBroken, UpstreamOutcome.BROKEN),
)


class CacheMetrics:
    """Adds its series to the page `/metrics`. Only registries that the settings name become labels."""

    def __init__(self, page: MetricsPage) -> None:
        requests = page.counters("registryd_upstream_requests_total", "Requests to upstreams, by answer.", "answer")
        self._requests = {answer: requests.labels(answer) for answer in UpstreamOutcome}
        self._bytes = page.counter("registryd_upstream_bytes_total", "Bytes of blobs from upstreams.")
        self._stale = page.counter(
            "registryd_cache_stale_total", "Tags that the cache resolved from its store in an outage."
        )
        self._unstored = page.counter(
            "registryd_cache_unstored_total", "Content that the cache sent to a client without storing it."
        )
        self._mismatched = page.counter(
            "registryd_cache_mismatched_total", "Content that the cache discarded because its bytes were wrong."
        )
        self._evicted = page.counter(
            "registryd_cache_evicted_bytes_total", "Bytes that the cache removed to make room."
        )
        self._used = page.gauge("registryd_cache_used_bytes", "Bytes in the store, interrupted downloads included.")
        text = "What is left of the upstream's rate limit, as the upstream says."
        self._left = page.gauges("registryd_upstream_limit_remaining", text, "registry")
        text = "The upstream's rate limit, as the upstream says."
        self._limit = page.gauges("registryd_upstream_limit", text, "registry")

    def answered(self, failure: UpstreamFailed | None) -> None:
        """An upstream was asked something, and this is how it failed, if it did."""
        found = (answer for kind, answer in _ANSWERS if isinstance(failure, kind))
        self._requests[UpstreamOutcome.GIVEN if failure is None else next(found, UpstreamOutcome.BROKEN)].inc()

    def limit(self, registry: Registry, limit: RateLimit) -> None:
        """A registry that the settings name told what is left of its limit."""
        if limit.remaining is not None:
            self._left.labels(registry.host).set(limit.remaining)
        if limit.limit is not None:
            self._limit.labels(registry.host).set(limit.limit)

    def received(self, count: int) -> None:
        """So many bytes of a blob came from an upstream."""
        self._bytes.inc(count)

    def stale(self) -> None:
        """A tag was answered with what it meant last."""
        self._stale.inc()

    def unstored(self) -> None:
        """Content is sent on that there is no room for."""
        self._unstored.inc()

    def mismatched(self) -> None:
        """An upstream sent other bytes than it should have."""
        self._mismatched.inc()

    def space(self, *, used: int, evicted: int) -> None:
        """So many bytes are there now, and so many were just removed."""
        self._used.set(used)
        self._evicted.inc(evicted)
