"""A layer in stripes: each comes from another node, which may be receiving it itself.

When a stripe is behind the others, its source may be slow, or only its source's source. The node asks the source how
far it is: one that has more of this stripe gives it slowly, and one that has less of the stripes that come well here
gets everything slowly. The node reports either to the index node, and leaves it if that one names another: when most of
those that get something from this source say the same. Any other source is held up itself, and reports its own source:
it is believed for some seconds in which all other stripes wait, and then the index node finds out who is at fault.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.scope import alongside
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.contract.peer import Wait
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.named import WAITS
from registryd.cluster.health.silence import has_no_more
from registryd.cluster.health.stripe_pace import StripePace, third_best
from registryd.cluster.health.totals import available
from registryd.cluster.members.offer import offer_of
from registryd.content.growing import NotArrived
from registryd.content.source import ContentNotFound, ContentUnavailable, NotForName
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken, SourceLeft, SourcesExhausted
from registryd.transfer.monitoring.floor import STRIPE_FLOOR
from registryd.transfer.monitoring.thresholds import (
    STRIPE_LOOK_SECONDS,
    STRIPE_MUCH_BYTES,
    STRIPE_SILENCE_SECONDS,
)
from registryd.transfer.stripe_board import StripeSink
from registryd.transfer.striping import STRIPES, reach, stripe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.opening import Opener
    from registryd.cluster.health.blame import DeliveryAttribution
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflows
    from registryd.transfer.sink import Sink
    from registryd.transfer.stripe_board import StripeBoard

_log = logging.getLogger(__name__)

# How often the source of a stripe may change.
_MOST_CHANGES: Final = 12
# How often sources of a stripe may have nothing yet, each for the seconds of `WAITS`: an index node may name nodes that
# wait for each other, one after the other.
_MOST_WAITS: Final = 4
# The same for sources that get more meanwhile, as a node does that has taken the place of one at the top, and has less
# of some stripes than those below it: a minute. A source may say so as long as it likes.
_MOST_WAITS_IN_ALL: Final = 12
# What a source that is at work gets of a stripe in one wait, at least: the floor of a stripe.
_LEAST_RECEIVED: Final = int(STRIPE_FLOOR.bytes_per_second * sum(WAITS))
# How often the index node is asked for another source of a stripe that is late: that of a source above may come first.
_ASK_SECONDS: Final = 1.0
# How long a layer of which nothing comes is asked for in stripes. The node at the top may say that it waits itself;
# a node that gets the layer as a whole asks the origin where the top says so though it has all of it.
_LONG_SECONDS: Final = 10.0
# If so many other stripes can come, the layer has begun to arrive.
_SOME: Final = 3


class StripeIndex(Protocol):
    """The part of `registryd.cluster.fetch.coalescing.FetchCoordinator` that knows the sources of stripes."""

    def member(self, address: Address) -> Member | None:
        """The member there, if it may be asked."""

    async def change_stripe(
        self,
        sought: Sought,
        *,
        failed: tuple[Address, ...] = (),
        slow: tuple[Address, ...] = (),
        is_late: bool = False,
    ) -> Address | None:
        """Another source for that stripe in place of these; None: there is none.

        `is_late`: this node has waited for the stripe long, and the source says that it waits itself. A top is kept.
        """

    def not_for_name(self, sought: Sought, address: Address) -> None:
        """This member does not give this for that name: it is not to be named for it, and not at fault."""

    def get_whole(self, digest: Digest) -> None:
        """Do not get this in stripes for a while."""


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
        """`limited` limits a body; `watched` watches one of the node at the top, from that byte of the stripe on."""
        self._index = index
        self._opener = opener
        self._blame = blame
        self._inflows = inflows
        self._limited = limited
        self._watched = watched
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
        for _ in range(_MOST_CHANGES):
            try:
                first = await self.require(sources[stripe], wanted, reach(stripe, span.start), size)
            except NotArrived:
                other = None
                if await self._others_come(wanted, sources, span):
                    other = await self.find_other(wanted, sources[stripe])
                if other is None and self._waits_for_long(sought.digest):
                    break
                if other is None:
                    raise
                waits += 1
                if waits >= _MOST_WAITS:
                    break
                sources[stripe] = other
            except ContentUnavailable as reason:
                _log.debug("stripe %d of %s does not come: %s", stripe, sought.digest, reason)
                other = await self.replace(wanted, sources[stripe], reason)
                if other is None:
                    break
                sources[stripe] = other
            else:
                self._awaited.pop(sought.digest, None)
                self._blame.gave(first, from_start=span.start == 0)
                return _StripedBody(self, sought, span, replace(reply, stripes=tuple(sources)))
        self.give_up(sought)
        raise ContentNotFound(f"no node gives stripe {stripe}")

    def _waits_for_long(self, digest: Digest) -> bool:
        """Whether no stripe of it has begun for so long that this node had better ask for the whole."""
        now = asyncio.get_running_loop().time()
        self._awaited = {of: since for of, since in self._awaited.items() if now - since < 2 * _LONG_SECONDS}
        return now - self._awaited.setdefault(digest, now) >= _LONG_SECONDS

    async def _others_come(self, sought: Sought, sources: Sequence[Address], span: Span) -> bool:
        """Whether some of the other stripes can come: then it is not the top that has nothing yet."""

        async def has_come(stripe: int) -> bool:
            member = self._index.member(sources[stripe])
            start = reach(stripe, span.start)
            return member is not None and await available(member, replace(sought, stripe=stripe)) > start

        found = await asyncio.gather(*(has_come(stripe) for stripe in range(STRIPES) if stripe != sought.stripe))
        return sum(found) >= _SOME

    async def require(self, address: Address, sought: Sought, start: int, size: int) -> Offer:
        """The offer of a member that has a byte of the stripe from there on. Raises ContentUnavailable."""
        member = self._index.member(address)
        if member is None or sought.stripe is None:
            raise ContentNotFound(f"{address} is not among the members")
        received = 0
        for seconds in WAITS:
            try:
                offer = offer_of(member, sought, await member.find(sought, Wait(seconds, beyond=start)))
            except NotForName:
                self._index.not_for_name(sought, address)
                raise
            if offer.content.size != reach(sought.stripe, size):
                raise PeerDeclined(f"{address} has another size: {offer.content.size}")
            self._blame.require_verified(offer.content)
            received = offer.received
            if offer.available > start:
                return offer
        raise NotArrived(f"stripe {sought.stripe} is to come from {address}", received=received)

    async def open(self, offer: Offer, start: int, *, is_top: bool) -> Body:
        """What is left of the stripe. Raises ContentUnavailable, SourceBroken."""
        opened = await self._opener.open(offer, Span(start, offer.content.size))
        self._blame.gave(offer, from_start=False)
        body = self._watched(offer, opened.body, start) if is_top else opened.body
        return self._limited(offer, body)

    async def has_other_source(self, sought: Sought, address: Address) -> bool:
        """Whether the index node names another source for the stripe by now."""
        other = await self._index.change_stripe(sought)
        return other is not None and other != address

    async def is_held_up(self, address: Address, sought: Sought, board: StripeBoard, stripe: int) -> bool | None:
        """Whether the source of this stripe is held up by its own source; None: it does not answer."""
        member = self._index.member(address)
        if member is None:
            return None
        well = third_best(range(STRIPES), key=lambda other: board.reached[other] if board.left(other) else 0)
        there, other = await asyncio.gather(
            available(member, replace(sought, stripe=stripe)), available(member, replace(sought, stripe=well))
        )
        if not (there or other):
            return None
        gives_slowly = there > board.reached[stripe] + STRIPE_MUCH_BYTES
        gets_slowly = other + STRIPE_MUCH_BYTES < board.reached[well]
        return not (gives_slowly or gets_slowly)

    async def has_no_more(self, address: Address, sought: Sought, reached: int) -> bool:
        """Whether this member answers that it is receiving the stripe, and has not got further than that."""
        member = self._index.member(address)
        return member is not None and await has_no_more(member, sought, reached)

    async def tell_slow(self, address: Address, sought: Sought) -> None:
        """Tell the source that it is slow, so that no node is sent to it for a while."""
        if (member := self._index.member(address)) is not None:
            with suppress(ContentUnavailable):
                await member.tell_slow(sought)

    async def change(self, sought: Sought, address: Address, *, is_slow: bool) -> Address | None:
        """Another source for the stripe; None: there is none, or this node is to get the content from elsewhere."""
        if is_slow:
            return await self._index.change_stripe(sought, slow=(address,))
        return await self._index.change_stripe(sought, failed=(address,))

    async def replace(self, sought: Sought, address: Address, reason: Exception) -> Address | None:
        """Another source for the stripe in place of one that did not give it for this reason; None: there is none."""
        if isinstance(reason, NotForName):  # noted; the index node is told with every question
            other = await self._index.change_stripe(sought)
            return None if other == address else other
        is_certain = isinstance(reason, SourceLeft)  # a check found it: a top need not be tried again
        return await self._index.change_stripe(sought, failed=(address,), slow=(address,) if is_certain else ())

    async def find_other(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe in place of one that says that it waits itself; None: that one is kept."""
        other = await self._index.change_stripe(sought, slow=(address,), is_late=True)
        return None if other == address else other

    async def find_one_that_has_some(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe in place of one that has had nothing for long; a top is kept. None: no one."""
        return await self._index.change_stripe(sought, failed=(address,), is_late=True)

    def receiving(self, sought: Sought, span: Span) -> AbstractContextManager[StripeBoard]:
        """The stripes as they come."""
        return self._inflows.in_stripes(sought.digest, span)

    def give_up(self, sought: Sought) -> None:
        """Note that the stripes do not come."""
        self._index.get_whole(sought.digest)


class _Left(SourceBroken):
    """The source of a stripe is left, because it is slow or because the index node names another one."""


@dataclass(slots=True)
class _Waits:
    """How often in a row a source of a stripe had nothing yet: in all, and without having got much itself meanwhile."""

    count: int = 0
    idle: int = 0
    reached: int = -1
    """How much of the stripe was here the last time."""
    source: Address | None = None
    """The source that had nothing the last time, and how much it had got."""
    received: int = 0

    def note(self, source: Address, received: int, *, reached: int) -> bool:
        """Note that this source has nothing yet, and has got so much itself. Returns whether it is idle as before."""
        if reached != self.reached:
            self.count = self.idle = 0
        is_same = source == self.source and reached == self.reached
        is_idle = is_same and received < self.received + _LEAST_RECEIVED
        self.count += 1
        self.idle = self.idle + 1 if is_idle or not is_same else 1
        self.reached, self.source, self.received = reached, source, received
        return is_idle

    @property
    def are_many(self) -> bool:
        return self.idle >= _MOST_WAITS or self.count >= _MOST_WAITS_IN_ALL


@dataclass(slots=True)
class _Stream:
    """One stripe: the node that gives it, and the attempt to get it from there that is under way."""

    source: Address
    limit: asyncio.Timeout | None = None
    """Expires when the source is left; None: no attempt is under way."""
    judged_at: float = 0.0
    """When the attempt began, or when the source was reported last."""
    asked_at: float = -math.inf
    """When the index node was asked last for another source, because the stripe is late."""
    other: Address | None = None
    """The node that is to give it when the source is left; None: the index node is to say."""
    believed: set[Address] = field(default_factory=set)
    """The sources that broke off after long silence, and were believed once that they had no more themselves."""
    waits: _Waits = field(default_factory=_Waits)

    def leave(self, other: Address | None) -> None:
        """End the attempt that is under way."""
        limit, self.limit = self.limit, None  # once: it ends a moment later
        if limit is not None:
            self.other = other
            limit.reschedule(asyncio.get_running_loop().time())


class _StripedBody:
    def __init__(self, striper: Striper, sought: Sought, span: Span, reply: ClaimReply) -> None:
        self._striper = striper
        self._sought = sought
        self._span = span
        self._top = reply.sources[0] if reply.sources else None
        self._streams = [_Stream(source) for source in reply.stripes]

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        try:
            with self._striper.receiving(self._sought, self._span) as board:
                async with alongside(self._fail_with(self._receive(board), board), name="receive stripes"):
                    while data := await board.take():
                        await sink.write(data)
        except SourceBroken as reason:
            _log.debug("%s does not come in stripes: %s", self._sought.digest, reason)
            self._striper.give_up(self._sought)
            raise

    async def aclose(self) -> None:
        """Do nothing: it holds nothing while it is not being sent."""

    async def _fail_with(self, receiving: Coroutine[Any, Any, None], board: StripeBoard) -> None:
        reason = SourceBroken("no source gives more of it")
        try:
            await receiving
        except SourceBroken as broken:
            reason = broken
        except Exception as error:  # noqa: BLE001 - whoever waits for the bytes is to go on without stripes
            note_unexpected("receiving stripes", error)
        board.fail(reason)

    async def _receive(self, board: StripeBoard) -> None:
        """All stripes. Raises SourceBroken when one of them does not come."""
        pace = StripePace(board.reached, asyncio.get_running_loop().time())
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(board, pace))
                stripes = [group.create_task(self._receive_one(board, pace, stripe)) for stripe in range(STRIPES)]
                await asyncio.wait(stripes)
                watch.cancel()
        except* SourceBroken as failures:
            reasons = _flat(failures)
            exhausted = next((reason for reason in reasons if isinstance(reason, SourcesExhausted)), None)
            raise (exhausted or reasons[0]) from None

    async def _receive_one(self, board: StripeBoard, pace: StripePace, stripe: int) -> None:
        sought, stream = replace(self._sought, stripe=stripe), self._streams[stripe]
        changes = 0
        while board.left(stripe):
            try:
                await self._receive_from(stream, sought, board, stripe)
            except NotArrived as reason:
                _log.debug("stripe %d of %s does not come: %s", stripe, self._sought.digest, reason)
                is_idle = stream.waits.note(stream.source, reason.received, reached=board.reached[stripe])
                if stream.waits.are_many:
                    raise SourceBroken(f"no source has more of stripe {stripe} for long") from reason
                other = await self._striper.find_other(sought, stream.source)
                if other is None and is_idle:
                    other = await self._striper.find_one_that_has_some(sought, stream.source)
                    if other is None:
                        raise SourcesExhausted(f"no node gives stripe {stripe}: {reason}") from reason
                stream.source = other or stream.source
            except (SourceBroken, ContentUnavailable) as reason:
                _log.debug("stripe %d of %s does not come: %s", stripe, self._sought.digest, reason)
                other, stream.other = stream.other, None
                silence = pace.silence(stripe, asyncio.get_running_loop().time())
                other = other or await self._find_after(reason, stream, sought, board.reached[stripe], silence)
                if other is None:
                    raise SourcesExhausted(f"no node gives stripe {stripe}: {reason}") from reason
                stream.source = other
                changes += 1
                if changes >= _MOST_CHANGES:
                    raise SourceBroken(f"no source gives stripe {stripe} for long") from reason

    async def _find_after(
        self, reason: Exception, stream: _Stream, sought: Sought, reached: int, silence: float
    ) -> Address | None:
        """The next source of a stripe that ended there for this reason, after so many seconds; perhaps the same one.

        Where a node above is silent, all below it break off at the same moment, and none of them has failed: each has
        no more of the stripe itself. That is believed once.
        """
        source = stream.source
        breaks_off = not isinstance(reason, _Left | ContentUnavailable) and silence >= STRIPE_SILENCE_SECONDS
        if breaks_off and source != self._top and source not in stream.believed:
            stream.believed.add(source)
            if await self._striper.has_no_more(source, sought, reached):
                return await self._striper.find_other(sought, source) or source
        return await self._striper.replace(sought, source, reason)

    async def _receive_from(self, stream: _Stream, sought: Sought, board: StripeBoard, stripe: int) -> None:
        """Raises SourceBroken, ContentUnavailable."""
        address = stream.source
        limit = stream.limit = asyncio.timeout(None)
        stream.judged_at = asyncio.get_running_loop().time()
        try:
            async with limit:
                start = board.reached[stripe]
                offer = await self._striper.require(address, sought, start, self._span.stop)
                body = await self._striper.open(offer, start, is_top=address == self._top)
                try:
                    await body.send_to(StripeSink(board, stripe))
                finally:
                    await body.aclose()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise _Left(f"{address} is left") from error
        finally:
            stream.limit = None

    async def _watch(self, board: StripeBoard, pace: StripePace) -> None:
        time = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(STRIPE_LOOK_SECONDS)
            pace.look(board.reached, time())
            for stripe in pace.late([stripe for stripe in range(STRIPES) if board.waits_for(stripe)]):
                if await self._find_other(stripe):
                    pace.begin_anew(stripe)
            for stripe in pace.held_up():
                if not (pace.is_outrun(stripe) or board.waits_for(stripe)):
                    continue
                if board.left(stripe) and time() - self._streams[stripe].judged_at >= pace.window:
                    await self._look_at_source(board, stripe)
            if pace.is_worth_a_change(board.span.stop - board.end):
                await self._look_for_top(board)

    async def _find_other(self, stripe: int) -> bool:
        """Whether the source of this stripe, which is late, is left."""
        stream = self._streams[stripe]
        limit, source, now = stream.limit, stream.source, asyncio.get_running_loop().time()
        if limit is None or source == self._top or now - stream.asked_at < _ASK_SECONDS:
            return False
        stream.asked_at = now
        other = await self._striper.find_other(replace(self._sought, stripe=stripe), source)
        if other is None or stream.limit is not limit:
            return False
        stream.leave(other)
        return True

    async def _look_for_top(self, board: StripeBoard) -> None:
        """Go to another node if another one has taken the place of the top: a node beside this one found that slow."""
        for stripe, stream in enumerate(self._streams):
            limit, source = stream.limit, stream.source
            if source == self._top and limit is not None and board.left(stripe):
                other = await self._striper.has_other_source(replace(self._sought, stripe=stripe), source)
                if other and stream.limit is limit:
                    stream.leave(None)

    async def _look_at_source(self, board: StripeBoard, stripe: int) -> None:
        stream = self._streams[stripe]
        limit, source = stream.limit, stream.source
        if limit is None or source == self._top:
            return
        other: Address | None = None
        match await self._striper.is_held_up(source, self._sought, board, stripe):
            case True:
                return
            case False:
                stream.judged_at = asyncio.get_running_loop().time()
                other = await self._striper.change(replace(self._sought, stripe=stripe), source, is_slow=True)
                if other is None or other == source:  # it is slow to this node only, as far as the index node knows
                    return
        if stream.limit is limit:  # it may have ended meanwhile
            stream.leave(other)
            if other is not None:
                await self._striper.tell_slow(source, replace(self._sought, stripe=stripe))


def _flat(failures: BaseExceptionGroup[SourceBroken]) -> list[SourceBroken]:
    found: list[SourceBroken] = []
    for failure in failures.exceptions:
        found.extend(_flat(failure) if isinstance(failure, BaseExceptionGroup) else [failure])
    return found
