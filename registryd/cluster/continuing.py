"""What happens when the source of a large body breaks off: another one goes on where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio.bound import bounded
from registryd.content.source import ContentUnavailable
from registryd.transfer.errors import SourceBroken, SourcesExhausted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.cluster.search import Offer
    from registryd.content.source import OpenContent
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body

    OpenOther = Callable[[Span], Awaitable[tuple[Offer, OpenContent]]]

# A whole search and a connection, as registry.first_byte_timeout has it for the first source.
_REOPEN_TIMEOUT: Final = 3.0


class Continuation:
    """The way on after `source`, to be given to a ResumingBody; each source that breaks is avoided from then on."""

    def __init__(self, source: Offer, *, open_other: OpenOther, avoid: Callable[[Offer], None]) -> None:
        self._source = source
        self._open_other = open_other
        self._avoid = avoid

    async def reopen(self, span: Span) -> Body:
        """What is left, from another source. Raises SourcesExhausted when nobody has it, SourceBroken for no answer."""
        self._avoid(self._source)
        try:
            async with bounded(_REOPEN_TIMEOUT):
                self._source, opened = await self._open_other(span)
        except ContentUnavailable as error:
            raise SourcesExhausted(str(error)) from error
        except TimeoutError as error:
            raise SourceBroken(f"no other source within {_REOPEN_TIMEOUT:g} s") from error
        return opened.body
