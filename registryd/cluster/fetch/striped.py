"""Opens a layer in stripes: each comes from another node, which may be receiving it itself."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from registryd.cluster.fetch.stripe_sources import StripeSources
from registryd.cluster.fetch.stripe_stream import AGAIN_SECONDS, MOST_CHANGES, StripeStream
from registryd.cluster.fetch.stripe_waits import MOST_WAITS
from registryd.cluster.fetch.striped_body import StripedBody
from registryd.content.growing import NotArrived
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.transfer.striping import STRIPES, reach, stripe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.opening import Opener
    from registryd.cluster.fetch.stripe_sources import StripeIndex
    from registryd.cluster.health.attribution import DeliveryAttribution
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflows

_log = logging.getLogger(__name__)

# How long a layer of which nothing comes is asked for in stripes. The node at the top may say that it waits itself;
# a node that gets the layer as a whole asks the origin where the top says so though it has all of it.
_LONG_SECONDS: Final = 10.0


class Striper:
    """Opens layers in stripes."""

    def __init__(  # noqa: PLR0913 - its parts, all named
        self,
        index: StripeIndex,
        opener: Opener,
        *,
        blame: DeliveryAttribution,
        inflows: Inflows,
        limited: Callable[[Offer, Body], Body] = lambda _, body: body,
        watched: Callable[[Offer, Body, int], Body] = lambda _offer, body, _start: body,
    ) -> None:
        """`limited` and `watched`: as for StripeSources."""
        self._sources = StripeSources(index, opener, blame=blame, limited=limited, watched=watched)
        self._blame = blame
        self._inflows = inflows
        self._awaited: dict[Digest, float] = {}
        """Since when nothing of these has come that was to come in stripes."""

    async def follow(self, sought: Sought, span: Span, reply: ClaimReply) -> Body:
        """A body from the sources that the reply names, when its first byte is at one of them.

        Raises NotArrived when it is not there for long, ContentUnavailable.
        """
        stripe = stripe_of(span.start)
        size = span.stop
        _log.debug("%s is to come in stripes from %s", sought.digest, ", ".join(map(str, reply.stripes)))
        wanted, sources = replace(sought, stripe=stripe), list(reply.stripes)
        waits = 0
        for _ in range(MOST_CHANGES):
            try:
                first = await self._sources.require(sources[stripe], wanted, reach(stripe, span.start), size)
            except NotArrived:
                other = None
                if await self._sources.are_some_here(wanted, sources, span):
                    other = await self._sources.find_other(wanted, sources[stripe])
                if other is None and self._waits_for_long(sought.digest):
                    break
                if other is None:
                    raise
                waits += 1
                if waits >= MOST_WAITS:
                    break
                sources[stripe] = other
            except ContentUnavailable as reason:
                _log.debug("stripe %d of %s does not come: %s", stripe, sought.digest, reason)
                other = await self._other_than(sources[stripe], wanted, reason)
                if other is None:
                    break
                sources[stripe] = other
            else:
                self._awaited.pop(sought.digest, None)
                self._blame.gave(first, from_start=span.start == 0)
                return self._body(sought, span, sources, top=reply.sources[0] if reply.sources else None)
        self.give_up(sought)
        raise ContentNotFound(f"no node gives stripe {stripe}")

    async def _other_than(self, source: Address, wanted: Sought, reason: ContentUnavailable) -> Address | None:
        """Another source in place of this one, or, after a moment, this one again; None: there is none."""
        other = await self._sources.replace(wanted, source, reason)
        if other == source:
            await asyncio.sleep(AGAIN_SECONDS)
        return other

    def give_up(self, sought: Sought) -> None:
        """Get this as a whole for a while."""
        self._sources.give_up(sought)

    def _waits_for_long(self, digest: Digest) -> bool:
        """Whether no stripe of it has begun for so long that this node had better ask for the whole."""
        now = asyncio.get_running_loop().time()
        self._awaited = {of: since for of, since in self._awaited.items() if now - since < 2 * _LONG_SECONDS}
        return now - self._awaited.setdefault(digest, now) >= _LONG_SECONDS

    def _body(self, sought: Sought, span: Span, sources: Sequence[Address], *, top: Address | None) -> StripedBody:
        def stream(stripe: int) -> StripeStream:
            wanted = replace(sought, stripe=stripe)
            return StripeStream(self._sources, wanted, stripe, source=sources[stripe], top=top, size=span.stop)

        return StripedBody(self._sources, [stream(stripe) for stripe in range(STRIPES)], sought, span, self._inflows)
