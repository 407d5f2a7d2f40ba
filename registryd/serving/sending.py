"""The head of an answer with content, and the hand-over of its body to the transfer."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from registryd.oci.descriptor import OCTET_STREAM
from registryd.oci.ranges import RangeRequest, Span
from registryd.transfer.ending import end_short
from registryd.transfer.errors import ReceiverIdle, SinkClosed, SourceBroken
from registryd.transfer.sink import open_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from registryd.content.source import Content, OpenContent
    from registryd.transfer.sink import Sink


@dataclass(frozen=True, slots=True)
class RequestedRange:
    """The range that a request's Range header asks of content whose size is not known yet."""

    asked: RangeRequest | None
    names_all: bool = False
    """Whether it asks for all bytes by name, which is answered as if it did not."""

    @classmethod
    def of(cls, request: web.BaseRequest) -> RequestedRange:
        """Read the header; `bytes=0-` asks for nothing special."""
        asked = RangeRequest.parse(request.headers.get("Range"))
        if asked is not None and asked.asks_for_all:
            return cls(None, names_all=True)
        return cls(asked)

    @property
    def is_partial(self) -> bool:
        """Whether the answer is a 206."""
        return self.asked is not None

    def head_of(self, opened: OpenContent) -> web.StreamResponse:
        """The head of the answer."""
        return head_of(opened.content, opened.span if self.is_partial else None)

    @property
    def start(self) -> int | None:
        """The first byte, if that does not depend on the size."""
        return 0 if self.asked is None else self.asked.first

    def __call__(self, size: int) -> Span:
        """The bytes to send; raises RangeInvalid."""
        return Span.whole(size) if self.asked is None else self.asked.span(size)


def head_of(content: Content, span: Span | None = None) -> web.StreamResponse:
    """The head of a 206 for these bytes, or of a 200 for all of the content.

    Always the exact length and never an encoding: containerd counts and hashes what arrives. Content of which
    no manifest tells the media type is octets.
    """
    response = web.StreamResponse(status=200 if span is None else 206)
    response.headers["Content-Type"] = content.media_type or OCTET_STREAM
    response.headers["Docker-Content-Digest"] = str(content.digest)
    response.headers["ETag"] = f'"{content.digest}"'
    response.headers["Accept-Ranges"] = "bytes"
    response.content_length = content.size if span is None else span.length
    if span is not None:
        response.headers["Content-Range"] = span.content_range(content.size)
    return response


async def send_head(
    request: web.BaseRequest, content: Content, *, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer a HEAD; `headers` are further ones."""
    response = head_of(content)
    response.headers.update(headers or {})
    with suppress(ConnectionError):  # nobody waits for it any more
        await response.prepare(request)
        await response.write_eof()
    return response


async def send_nothing(request: web.BaseRequest, size: int, wanted: RequestedRange) -> web.StreamResponse:
    """Begin to answer a GET of content of that size, and end before the first byte: the client asks again."""
    span = wanted(size)
    response = web.StreamResponse(status=206 if wanted.is_partial else 200)
    response.content_length = span.length
    if wanted.is_partial:
        response.headers["Content-Range"] = span.content_range(size)
    response.force_close()
    with suppress(ConnectionError):
        await response.prepare(request)
        await end_short(request.transport)
    return response


@contextmanager
def _towards_receiver() -> Iterator[None]:
    """Errors of the connection as SinkClosed: containerd may have changed its mind while we were searching."""
    try:
        yield
    except ConnectionError as error:
        raise SinkClosed("the receiver closed the connection") from error


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a body ended: whole, or by the fault of one of the two ends."""

    response: web.StreamResponse
    failure: SourceBroken | SinkClosed | None


async def send_content(  # noqa: PLR0913 - all named
    request: web.BaseRequest,
    opened: OpenContent,
    response: web.StreamResponse,
    *,
    on_sent: Callable[[int], None],
    follow: Callable[[Sink], None] = lambda _: None,
    patience: float | None = None,
) -> Delivery:
    """Answer a GET with this head and opened content, and close it.

    A receiver that takes nothing for `patience` seconds is cut off; without it, it may take its time.

    `on_sent` is told the bytes that were given, on every path. `follow` is given the sink, which counts them meanwhile.

    When the source breaks, the body ends with FIN after what was sent: containerd then asks for the rest by Range,
    while a reset would fail its pull.
    """
    sink = None
    try:
        with _towards_receiver():
            await response.prepare(request)
        async with open_sink(request.transport, response.write, patience=patience) as sink:
            follow(sink)
            await opened.body.send_to(sink)
        with _towards_receiver():
            await response.write_eof()
    except (SourceBroken, SinkClosed) as failure:
        response.force_close()
        if isinstance(failure, ReceiverIdle) and request.transport is not None:
            request.transport.abort()
        if isinstance(failure, SourceBroken) and request.transport is not None:
            await end_short(request.transport)
        return Delivery(response, failure)
    finally:
        await opened.body.aclose()
        on_sent(0 if sink is None else sink.sent)
    return Delivery(response, None)
