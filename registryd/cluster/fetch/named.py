"""The sources that a digest's index nodes name for a request: asked one at a time, until one has the byte."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.cluster.fetch.intake import Urgency
from registryd.cluster.fetch.opening import is_small
from registryd.cluster.fetch.places import Pressed
from registryd.content.growing import NotArrived
from registryd.content.source import ContentUnavailable, NotForName
from registryd.oci.errors import RangeInvalid

if TYPE_CHECKING:
    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.coalescing import FetchCoordinator
    from registryd.cluster.fetch.fallback import FallbackMembers
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.content.source import Content, RangeOf
    from registryd.notation import Address
    from registryd.oci.digest import Digest

_log = logging.getLogger(__name__)

# How long one question after the other may wait for the first byte. The death of a source's process is noticed at once,
# a loss of power after this time and peers.find_timeout. A node far down a long chain asks that much more often. After
# the last question the node asks the index nodes again: index nodes that changed meanwhile may have sent two nodes to
# wait for each other.
WAITS: Final = (2.5, 2.5)
# For a source that is still receiving, while holders are named, too. A node that leaves its place in a wave takes a
# share of a link by which others get the whole content: with 0.3 s, waves in which 2 % of the messages were 0.2 s late
# took up to three times as long (benchmarks.simulate), with a second no longer than without this.
_BRIEF_WAIT: Final = (1.0,)
# For a holder: it has no byte to wait for, and may have fallen silent since its last announcement.
_NO_WAIT: Final = (0.0,)
# An impatient caller asks for the next offer while the last is still being opened, a quarter of a second after that was
# given; these times run from then on. In a wave there is no other source than the named one, unless it fails: opening
# takes a connection and a first byte, limited by `DoorTimeouts`.
_OPEN_SECONDS: Final = 3.0
# Of whole content there are other sources: those that are named as well, and those that index nodes name next. One that
# loses large packets answers finds, and would take all of registry.first_byte_timeout: its door and its gRPC have 1.5 s
# each. The second number is more than a lost SYN costs.
_OPEN_WHOLE_SECONDS: Final = (1.0, 2.0)
# What is small comes in one answer on a connection that exists, and costs next to nothing twice.
_OPEN_SMALL_SECONDS: Final = (0.5, 1.0)
# A node gets three layers at a time, from as many holders.
_MOST_ASKED_IF_IDLE: Final = 4
# Each costs milliseconds when sources say no; when they are silent, patience ends first.
_MOST_REPLIES: Final = 8
# Larger than any content, so that a range that counts from the end of content whose size is not known yet waits for it.
_ANY_SIZE: Final = 2**62


@dataclass(slots=True)
class Want:
    """The wanted content, as far as it is known."""

    sought: Sought
    wanted: RangeOf
    size: int | None = None
    is_awaited: bool = False
    """Whether the latest source of the reply was at work, and had not got so far."""
    received: int = 0
    """Bytes that it had got, whether or not it may give them."""
    takes_stripes: bool = False
    """Whether it may come in stripes."""

    @property
    def digest(self) -> Digest:
        return self.sought.digest

    @property
    def start(self) -> int:
        """The first byte that is wanted."""
        try:
            return self.wanted(_ANY_SIZE if self.size is None else self.size).start
        except RangeInvalid:
            return 0  # whoever opens it will find out


class Patience:
    """Seconds that a request may wait in all; they begin with the first look at them."""

    def __init__(self, seconds: float, *, longest: float = 0.0) -> None:
        """As long as sources say that they are held up themselves, it lasts longer, up to the `longest` in all."""
        self._seconds = seconds
        self._excusable = max(0.0, longest - seconds)
        self._until: float | None = None

    def begin(self) -> float:
        """They begin now, if they have not. Returns when they end, by the event loop's clock."""
        if self._until is None:
            self._until = clock.now() + self._seconds
        return self._until

    def excuse(self, seconds: float) -> None:
        """For so long a source had nothing, through no fault of its own."""
        seconds = min(seconds, self._excusable)
        self._until = self.begin() + seconds
        self._excusable -= seconds

    @property
    def left(self) -> float:
        return self.begin() - clock.now()

    @property
    def is_over(self) -> bool:
        return self.left <= 0


@dataclass(frozen=True, slots=True)
class _Opening:
    """The latest source that was given, until it is known what has become of it."""

    offer: Offer
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class NamedSources:
    """Asks the sources of one reply after the other, in the order of the reply, and the index nodes for the next reply.

    A source comes when it has the first wanted byte. The sources end when the index nodes name none, or when patience
    is over; with a reply that `is_final`, when all sources that it names were asked.
    """

    def __init__(  # noqa: PLR0913 - all named
        self,
        coordinator: FetchCoordinator,
        want: Want,
        *,
        reply: ClaimReply | None = None,
        is_final: bool = False,
        fallback: FallbackMembers | None = None,
        longest: float = 0.0,
    ) -> None:
        """A `reply` that is known already is followed first; the `fallback` learns what index nodes say.

        Patience lasts `longest` seconds where sources say that they are held up themselves.
        """
        self._coordinator = coordinator
        self._want = want
        self._patience = Patience(coordinator.fetch_wait, longest=longest)
        self._known = reply
        self._is_final = is_final
        self._fallback = fallback
        self._replies = 0
        self._reply: ClaimReply | None = None
        self._left: deque[Address] = deque()
        self._idle: Address | None = None
        self._opening: _Opening | None = None

    async def next(self) -> Offer | None:
        """The next source that has the byte; None when there is no source left to ask.

        Waits first for the outcome of the source before. Raises NotArrived when the last source of a final reply was at
        work and had not got so far; Pressed, AskAgain when the request must not wait any longer.
        """
        await self._leave_opening()
        while await self._has_next():
            if (offer := await self._ask_idle() or await self._ask_first_left()) is not None:
                self._opening = _Opening(offer)
                return offer
        if self._is_final and self._want.is_awaited:
            raise NotArrived(f"{self._want.digest} is to come from {_told(self._reply)}", received=self._want.received)
        return None

    def ended(self, offer: Offer) -> None:
        """This source is not to be waited for: it did not open, and that was told."""
        if self._opening is not None and self._opening.offer is offer:
            self._opening.ended.set()

    async def _leave_opening(self) -> None:
        opening = self._opening
        if opening is None:
            return
        try:
            async with asyncio.timeout(self._seconds_to_open(opening.offer.content)):
                await opening.ended.wait()
        except TimeoutError:
            self._coordinator.failed(self._want.digest, opening.offer.member.address)
        self._opening = None

    def _seconds_to_open(self, content: Content) -> float:
        if content.is_growing:
            return _OPEN_SECONDS
        beside_others, alone = _OPEN_SMALL_SECONDS if is_small(content) else _OPEN_WHOLE_SECONDS
        return beside_others if self._left else alone

    async def _has_next(self) -> bool:
        """Whether another source is named; asks the index nodes again when all named sources were asked."""
        if not self._left and self._may_ask_again():
            if not self._replies:
                self._want.size = await self._coordinator.size(self._want.digest)
                self._patience.begin()  # a claim may take seconds itself, where all nodes ask at the same moment
            self._replies += 1
            self._reply = self._known or await self._coordinator.claim_once(self._want, Urgency.ASKED)
            self._known = None
            if self._fallback is not None:
                self._fallback.learn(self._reply, has_lost_source=self._coordinator.has_lost_source(self._want))
            _log.debug("%s is to come from %s", self._want.digest, _told(self._reply))
            self._want.is_awaited = False
            named = self._reply.sources if self._reply is not None else ()
            self._idle = self._reply.idle if self._reply is not None else None
            self._left.extend(named)
            if named:
                self._left.extend(one for one in self._coordinator.spared.of(self._want.digest) if one not in named)
        return bool(self._left)

    def _may_ask_again(self) -> bool:
        if not self._replies:
            return True
        return not self._is_final and self._replies < _MOST_REPLIES and not self._patience.is_over

    async def _ask_idle(self) -> Offer | None:
        """The offer of the holder that gives this content to nobody, or of another, if it does nothing else either.

        A node that gets the content from many at once passes it on slowly: what others acknowledge waits on its full
        link. But a holder that passes other layers on to a chain of nodes, or is going to, is left to these.
        """
        address, self._idle = self._idle, None
        if address is None or address not in self._left:
            return None
        others = [other for other in islice(self._left, 1, None) if other != address]
        for holder in [address, *others][:_MOST_ASKED_IF_IDLE]:
            offer = await self._ask(holder, _NO_WAIT)
            is_idle = offer is not None and offer.is_idle
            if is_idle or (offer is None and not self._want.is_awaited):  # else it may be the best of those left
                self._left.remove(holder)
            self._want.is_awaited = False
            if is_idle:
                return offer
        return None

    async def _ask_first_left(self) -> Offer | None:
        address = self._left.popleft()
        return await self._ask(address, self._waits())

    async def _ask(self, address: Address, waits: tuple[float, ...]) -> Offer | None:
        """The member's offer, None when it has none yet. Notes the rest of its answer."""
        want = self._want
        try:
            offer = await self._coordinator.follow(address, want, self._patience, waits)
        except Pressed:
            if not self._is_final:
                await self._coordinator.claim_once(want, Urgency.PRESSED)
            raise
        except NotForName as reason:
            _log.debug("%s does not come from %s: %s", want.digest, address, reason)
            self._coordinator.not_for_name(want.sought, address)
            return None
        except ContentUnavailable as reason:
            _log.debug("%s does not come from %s: %s", want.digest, address, reason)
            self._coordinator.failed(want.digest, address)
            return None
        if offer is not None and want.is_awaited and self._coordinator.spared.spare(offer):
            return None
        want.is_awaited = offer is None  # it is at work and has nothing yet; if it was the last, index nodes are asked
        return offer

    def _waits(self) -> tuple[float, ...]:
        """How long to wait for the source that is asked now."""
        if self._reply is not None and self._reply.is_whole:
            return _NO_WAIT
        # When the predecessor comes, or has not come for some time, there may be a better place.
        is_to_ask_again = self._reply is not None and self._reply.is_below_missing
        return _BRIEF_WAIT if self._left or is_to_ask_again else WAITS


def _told(reply: ClaimReply | None) -> str:
    if reply is None:
        return "anywhere: no index node answers"
    return ", ".join(map(str, reply.sources)) or "the origin"
