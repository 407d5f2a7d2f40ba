"""A server's answer: status, headers, and a body that is read within bounds."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from registryd.upstream.addresses import resolve_address
from registryd.upstream.challenge import Challenge, parse_challenges
from registryd.upstream.errors import (
    RateLimit,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from registryd.upstream.wire_errors import translated
from registryd.upstream.words import reason_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiohttp import ClientResponse
    from yarl import URL

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# The size of a read: large enough to cost little per byte, small enough to be passed on at once.
_CHUNK: Final = 256 * 1024
# An error's body has some hundred bytes; a page of HTML is read for the connection's sake, and not shown.
_LONGEST_REASON: Final = 64 * 1024
_NEXT: Final = re.compile(r"\s*<(?P<target>[^<>]{1,4096})>\s*;\s*rel=\"?next\"?\s*(?:;|,|$)", re.IGNORECASE)
# Docker Hub: `ratelimit-limit: 100;w=21600`, the window in seconds.
_LIMIT: Final = re.compile(r"(?P<count>[0-9]{1,9})(?:;w=(?P<window>[0-9]{1,9}))?", re.ASCII)


class Reply:
    """An answer whose head has arrived. The sender of the request closes it."""

    def __init__(self, response: ClientResponse, url: URL, *, now: Callable[[], float]) -> None:
        self._response = response
        self._now = now
        self.url = url
        self.status = response.status

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return self._response.headers.get(name)

    @property
    def challenges(self) -> tuple[Challenge, ...]:
        """The challenges of a 401."""
        return parse_challenges(self._response.headers.getall("WWW-Authenticate", []), base=self.url)

    @property
    def leads_to(self) -> URL | None:
        """Where a redirect points; None for an answer that is not one. Raises UpstreamBroken."""
        if self.status not in _REDIRECTS:
            return None
        try:
            return resolve_address(self.url, self.header("Location") or "")
        except ValueError:
            raise UpstreamBroken(f"{self.url.origin()}: redirects to nowhere") from None

    @property
    def next_page(self) -> URL | None:
        """Where a list goes on (RFC 8288); None for its end, or for what is no address."""
        for link in self._response.headers.getall("Link", []):
            if found := _NEXT.match(link):
                with suppress(ValueError):
                    return resolve_address(self.url, found["target"])
        return None

    async def expect(self, *statuses: int) -> None:
        """Raise what any other status means: UpstreamFailed of some kind, with the server's own reason."""
        if self.status not in statuses:
            raise self._failure(await self._reason())

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamBroken when it has more than `limit` bytes, UpstreamFailed."""
        data = bytearray()
        async for chunk in self.chunks():
            data += chunk
            if len(data) > limit:
                raise UpstreamBroken(f"{self.url.origin()}: the answer has more than {limit} bytes")
        return bytes(data)

    async def discard(self) -> None:
        """Read and discard a small body, so that the connection can be used again."""
        with suppress(UpstreamFailed):
            await self.read(_CHUNK)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises UpstreamFailed."""
        while chunk := await self._next_chunk():
            yield chunk

    async def _next_chunk(self) -> bytes:
        with translated(self.url):
            return await self._response.content.read(_CHUNK)

    async def _reason(self) -> str:
        try:
            body = await self.read(_LONGEST_REASON)
        except UpstreamFailed:
            return ""
        media_type = (self.header("Content-Type") or "").partition(";")[0].strip()
        return reason_in(body, media_type)

    def _failure(self, reason: str) -> UpstreamFailed:
        said = f": {reason}" if reason else ""
        where = f"{self.url.origin()}: answers {self.status}{said}"
        if self.status in {401, 403}:
            return UpstreamDenied(where)
        if self.status == 404:  # noqa: PLR2004 - HTTP's own names of its statuses
            return UpstreamMissing(f"{self.url.origin()}: does not have it (404){said}")
        if self.status == 429:  # noqa: PLR2004
            return UpstreamLimited(where, retry_after=self._retry_after(), rate_limit=self.rate_limit)
        if self.status >= 500:  # noqa: PLR2004
            return UpstreamUnreachable(where, retry_after=self._retry_after())
        return UpstreamBroken(where)

    def _retry_after(self) -> float | None:
        """RFC 9110 section 10.2.3: seconds, or a date."""
        text = self.header("Retry-After") or ""
        if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
            return float(text)
        try:
            return max(0.0, math.ceil(parsedate_to_datetime(text).timestamp() - self._now()))
        except (ValueError, OverflowError):
            return None

    @property
    def rate_limit(self) -> RateLimit:
        """The rate limit in the answer; Docker Hub gives it with every manifest."""
        limit = _LIMIT.fullmatch(self.header("RateLimit-Limit") or "")
        remaining = _LIMIT.fullmatch(self.header("RateLimit-Remaining") or "")
        return RateLimit(
            limit=int(limit["count"]) if limit else None,
            remaining=int(remaining["count"]) if remaining else None,
            window=int(limit["window"]) if limit and limit["window"] else None,
        )
