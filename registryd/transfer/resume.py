"""A body that goes on with another source, at the same byte, when the one it has breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SourceBroken, SourcesExhausted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

    Reopen = Callable[[Span, SourceBroken], Awaitable[Body]]

# Each may cost the time-outs of one fetch, and containerd 1.7 cancels a pull that has not moved for a minute.
_MAX_SOURCES: Final = 5


class ResumingBody:
    """The span, from the first body and from the bodies that `reopen` opens for the rest of the span.

    This body calls `reopen` with the reason each time the latest body broke. `reopen` raises SourceBroken when a source
    failed, which counts as one of `max_sources`. SourcesExhausted, of it or of a body, ends the attempt. The body of a
    source decides whether the source is too slow (`registryd.transfer.monitoring.floor`). This body closes every other
    body, once.
    """

    def __init__(
        self,
        first: Body,
        span: Span,
        reopen: Reopen,
        *,
        max_sources: int = _MAX_SOURCES,
    ) -> None:
        if first.length != span.length:
            raise ValueError(f"a body of {first.length} bytes is not {span}")
        self._body: Body | None = first
        self._span = span
        self._reopen = reopen
        self._max_sources = max_sources

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        """Send the span; raises SourcesExhausted with the reason of every source, or SinkClosed."""
        begun_at = sink.sent
        reasons: list[SourceBroken] = []
        while len(reasons) < self._max_sources:
            try:
                await self._send_rest(self._span.after(sink.sent - begun_at), sink, reasons)
            except SourceBroken as error:
                reasons.append(error)
                await self.aclose()
                if isinstance(error, SourcesExhausted):
                    break
            else:
                return
        at = self._span.start + sink.sent - begun_at
        raise SourcesExhausted(f"no source could go on at byte {at}", reasons=reasons) from reasons[-1]

    async def aclose(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            await body.aclose()

    async def _send_rest(self, rest: Span, sink: Sink, reasons: Sequence[SourceBroken]) -> None:
        if not rest.length:
            return  # the last byte was sent, and the source found slow, in the same moment
        if self._body is None:
            self._body = await self._reopen(rest, reasons[-1])
            if self._body.length != rest.length:
                raise SourceBroken(f"a source gives {self._body.length} bytes instead of {rest.length}")
        await self._body.send_to(sink)
