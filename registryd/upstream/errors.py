"""Failures of questions to an upstream.

They are ContentUnavailable, so that an upstream can be one of the sources of a lookup. A message names the upstream's
origin, a reason in registryd's words, and the upstream's own reason (`registryd.upstream.words`): within bounds, in one
line, without query strings (signed addresses) and credentials.
"""

from __future__ import annotations

from dataclasses import dataclass

from registryd.content.source import ContentNotFound, ContentUnavailable


class UpstreamFailed(ContentUnavailable):
    """The upstream did not give what it was asked for; the message is the reason.

    `retry_after`: in so many seconds it may be asked again; None when it does not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamUnreachable(UpstreamFailed):
    """The upstream cannot be used now: no address, no connection, no answer in time, or a fault of its own (5xx)."""


class UpstreamDenied(UpstreamFailed):
    """The upstream, or its token server, refuses: the credentials, or their absence, do not suffice (401, 403)."""


class UpstreamMissing(UpstreamFailed, ContentNotFound):
    """The upstream answered properly that it does not have the content (404)."""


class UpstreamBroken(UpstreamFailed):
    """The upstream's answer makes no sense: malformed, too large, too many redirects, an unexpected status."""


class NotHttp(UpstreamBroken):
    """What came is no answer of HTTP: something else, or what an earlier answer had too much."""


class HeadRefused(UpstreamBroken):
    """The upstream does not answer HEAD (405, 501), or with a body, which nobody can read: a GET may tell."""


class SomethingElse(UpstreamBroken):
    """The upstream sent something else, as its length or type shows: a page about an error, perhaps."""


class DestinationForbidden(UpstreamBroken):
    """The upstream leads to an address to which it must not lead: this machine, a metadata service, plain HTTP."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The upstream's statement about its limit: pulls allowed and left in a window of so many seconds."""

    limit: int | None = None
    remaining: int | None = None
    window: int | None = None


class UpstreamLimited(UpstreamFailed):
    """The upstream limits this node's requests for now (429)."""

    def __init__(self, message: str, *, retry_after: float | None = None, rate_limit: RateLimit | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.rate_limit = rate_limit or RateLimit()
