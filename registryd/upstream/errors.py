"""How asking an upstream ends when it does not end well.

They are ContentUnavailable, so that an upstream can stand among the sources of a lookup. Messages name the upstream's
origin and a reason in our own words, and what the upstream itself gave for one (`registryd.upstream.words`): within
bounds, in one line, without query strings (signed addresses) and credentials.
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
    """It cannot be used now: no address, no connection, no answer in time, or a fault of its own (5xx)."""


class UpstreamDenied(UpstreamFailed):
    """It, or its token server, refuses: the credentials, or their absence, do not suffice (401, 403)."""


class UpstreamMissing(UpstreamFailed, ContentNotFound):
    """It answered properly that it does not have it (404)."""


class UpstreamBroken(UpstreamFailed):
    """It answers in a way that makes no sense: malformed, too large, too many redirects, an unexpected status."""


class HeadRefused(UpstreamBroken):
    """It does not answer HEAD (405, 501): a GET may tell."""


class SomethingElse(UpstreamBroken):
    """It sent something else than what was asked for, as its length or type shows: a page about an error, perhaps."""


class DestinationForbidden(UpstreamBroken):
    """It leads to where nobody else may lead us: this machine, a metadata service, plain HTTP."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the upstream says of its limit: pulls allowed and left in a window of so many seconds."""

    limit: int | None = None
    remaining: int | None = None
    window: int | None = None


class UpstreamLimited(UpstreamFailed):
    """It has had enough of us for now (429)."""

    def __init__(self, message: str, *, retry_after: float | None = None, rate_limit: RateLimit | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.rate_limit = rate_limit or RateLimit()
