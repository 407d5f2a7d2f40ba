"""Several ranges of content in one answer: multipart/byteranges (RFC 9110 section 14.6).

Clients of layers that can be read in part ask so: those of zstd:chunked (podman) and eStargz (stargz-snapshotter).
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.oci.descriptor import OCTET_STREAM
from registryd.oci.errors import RangesUnsupported
from registryd.oci.ranges import RangeRequest, Span, spans_of
from registryd.serving.locating import Unlocated
from registryd.serving.sending import head_of
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web

    from registryd.content.lookup import Hit
    from registryd.content.source import Content, OpenContent, RangeOf
    from registryd.serving.paths import BlobPath
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

# Each costs a head and an opened file. Clients ask for a few, stargz-snapshotter for some dozens.
_MOST_RANGES: Final = 256


class BlobLocating(Protocol):
    """Says where a blob is, and opens it."""

    async def open(self, path: BlobPath, wanted: RangeOf, /) -> Hit[OpenContent]:
        """Raises Unlocated, or RangeInvalid."""


class RangeList:
    """The ranges that a client asks for at once; as a RangeOf, the first of them.

    Raises RangesUnsupported for too many of them.
    """

    def __init__(self, ranges: Sequence[RangeRequest]) -> None:
        if len(ranges) > _MOST_RANGES:
            raise RangesUnsupported(f"more than {_MOST_RANGES} ranges at once")
        self._ranges = ranges
        self.spans: Sequence[Span] = ()

    @classmethod
    def of(cls, request: web.BaseRequest) -> RangeList | None:
        """Read the header; None when it does not name several ranges."""
        ranges = RangeRequest.parse_list(request.headers.get("Range"))
        return cls(ranges) if len(ranges) > 1 else None

    def __call__(self, size: int) -> Span:
        """The first span of content of this size; raises RangeInvalid, RangesUnsupported for the same bytes twice."""
        self.spans = spans_of(self._ranges, size)
        if sum(span.length for span in self.spans) > size:
            raise RangesUnsupported(f"the ranges have more bytes than the content, which has {size}")
        return self.spans[0]


class PartsBody:
    """Spans of content, each with a head of its own; `first` is open already, `reopen` opens the others."""

    def __init__(
        self, first: OpenContent, spans: Sequence[Span], reopen: Callable[[Span], Awaitable[OpenContent]]
    ) -> None:
        self._first: Body | None = first.body
        self._content = first.content
        self._spans = spans
        self._reopen = reopen
        boundary = secrets.token_hex(16)
        self.media_type = f"multipart/byteranges; boundary={boundary}"
        self._heads = [_head(first.content, span, boundary) for span in spans]
        self._heads[0] = self._heads[0].removeprefix(b"\r\n")
        self._end = f"\r\n--{boundary}--\r\n".encode()

    @property
    def length(self) -> int:
        return sum(map(len, self._heads)) + sum(span.length for span in self._spans) + len(self._end)

    async def send_to(self, sink: Sink) -> None:
        for head, span in zip(self._heads, self._spans, strict=True):
            await sink.write(head)
            body, self._first = self._first or await self._open(span), None
            try:
                await body.send_to(sink)
            finally:
                await body.aclose()
        await sink.write(self._end)

    async def aclose(self) -> None:
        if self._first:
            await self._first.aclose()

    async def _open(self, span: Span) -> Body:
        try:
            opened = await self._reopen(span)
        except Unlocated as no:
            raise SourceBroken(str(no)) from no
        if opened.body.length != span.length:
            await opened.body.aclose()
            raise SourceBroken(f"a part has {opened.body.length} bytes instead of {span.length}")
        return opened.body


async def open_parts(
    locator: BlobLocating, path: BlobPath, ranges: RangeList
) -> tuple[Hit[OpenContent], web.StreamResponse]:
    """What a GET of several ranges is answered with, and its head. Raises Unlocated, RangeInvalid, RangesUnsupported.

    The locator has to be one for which it costs little to be asked for each of them.
    """

    async def reopen(span: Span) -> OpenContent:
        return (await locator.open(path, lambda _: span)).value

    try:
        hit = await locator.open(path, ranges)
    except Unlocated as no:
        # In words after which a client asks in a way that can be answered.
        text = f"several ranges are answered of what is here, and this is not; ask for one at a time ({no})"
        raise Unlocated(RangesUnsupported(text), is_miss=no.is_miss, cache_status=no.error.cache_status) from no
    if len(ranges.spans) == 1:
        return hit, head_of(hit.value.content, hit.value.span)
    body = PartsBody(hit.value, ranges.spans, reopen)
    # As many bytes, though of several spans and their heads.
    opened = replace(hit.value, span=Span.whole(body.length), body=body)
    return replace(hit, value=opened), _head_of_parts(hit.value.content, body)


def _head_of_parts(content: Content, body: PartsBody) -> web.StreamResponse:
    response = head_of(content)
    response.set_status(206)
    response.headers["Content-Type"] = body.media_type
    response.content_length = body.length
    return response


def _head(content: Content, span: Span, boundary: str) -> bytes:
    lines = (
        "",
        f"--{boundary}",
        f"Content-Type: {content.media_type or OCTET_STREAM}",
        f"Content-Range: {span.content_range(content.size)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()
