"""The cluster as a source of content and of names, asked like this node's own store."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from registryd.aio.racing import AllFailed, arrivals, at_once, first_success, one_by_one
from registryd.cluster.continuing import Continuation
from registryd.cluster.errors import ContentCorrupt, PeerDeclined, PeerFailed
from registryd.cluster.lagging import Lag
from registryd.cluster.links import TopLink
from registryd.cluster.locality import refuse_to_forward
from registryd.cluster.opening import is_small
from registryd.cluster.outcome import refusal
from registryd.cluster.rivals import somebody_else_offers
from registryd.cluster.totals import Totals
from registryd.content.growing import GrowingContent
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.oci.errors import RangeInvalid
from registryd.transfer.comparing import ComparedBody, RecentRates
from registryd.transfer.doubting import DoubtedBody
from registryd.transfer.errors import SourceBroken
from registryd.transfer.passing import Passages, PassingBody
from registryd.transfer.resume import ResumingBody

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence

    from registryd.aio.race import Attempt
    from registryd.cluster.blame import Blame
    from registryd.cluster.locator import Locator
    from registryd.cluster.name_search import NameIndex
    from registryd.cluster.opening import Opener
    from registryd.cluster.search import Offer
    from registryd.content.source import Content, NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName
    from registryd.transfer.body import Body

T = TypeVar("T")

# Until the next offer is tried while the one before is still being opened: the pause of happy eyeballs (RFC 8305), for
# the same reason. A peer's first byte takes milliseconds, tens of them from a cold disk.
_PATIENCE: Final = 0.25

_TRY_NEXT: Final = (ContentUnavailable, SourceBroken, RangeInvalid)


class ClusterSource:
    """Asks the members and opens what the first of them offers. Cancelling leaves nothing open.

    Nothing that a peer says is believed further than it has to be: small content is verified, and large content has
    the size that its first source gave; whoever gives another one is left out of that request.
    """

    def __init__(
        self,
        locator: Locator,
        opener: Opener,
        *,
        blame: Blame,
        names: NameIndex | None = None,
        passages: Passages | None = None,
    ) -> None:
        """`blame` is told who gives large content; in `passages` it is shown to others when many are getting it.

        Without `names` nobody in particular is asked what a name means.
        """
        self.blame = blame
        self._locator = locator
        self._opener = opener
        self._names = names
        self._passages = passages or Passages()
        self._totals = Totals(self._passages.contents)
        self._rates = RecentRates()

    async def find(self, digest: Digest) -> Content:
        return await self._first(digest, self._opener.confirm)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        offer, opened = await self._open_first(digest, wanted)
        if is_small(opened.content):
            return opened

        def doubted(source: Offer, given: OpenContent) -> Body:
            if not isinstance(given.content, GrowingContent) or not way_on.may_leave:
                return given.body
            top = TopLink(source, self._locator.holders, totals=self._totals)
            lag = Lag(source, self._locator.beside, leave=way_on.leave, top=top, totals=self._totals)
            return DoubtedBody(given.body, given.span.start, is_slow=lag.is_slow)

        async def open_other(rest: Span) -> tuple[Offer, OpenContent]:
            other, given = await self._open_first(digest, lambda _: rest, size=opened.content.size)
            return other, replace(given, body=doubted(other, given))

        way_on = Continuation(offer, open_other=open_other, avoid=self._locator.avoid, leave=self._locator.leave)
        is_growing = isinstance(opened.content, GrowingContent)
        first = doubted(offer, opened) if is_growing else self._compared(offer, opened)
        body: Body = ResumingBody(first, opened.span, way_on.reopen)
        if is_growing:  # in a wave: this node has followers, too
            body = PassingBody(body, digest, opened.span, self._passages)
        return replace(opened, body=body)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        """What all members know of the name: a tag moves, so the first answer is not enough.

        In a larger cluster its index nodes know; when they cannot, so many members as may be are asked at random.
        """
        refuse_to_forward()
        if self._names is not None and self._names.is_told:
            answer = await self._names.ask(name)
            if answer.known or answer.is_settled:
                return answer.known
        return await self._resolve_by_members(name)

    async def _resolve_by_members(self, name: TaggedName) -> Sequence[NamedContent]:
        """Takes as long as the slowest member that is well, and at most peers.find_timeout."""
        questions = [partial(member.resolve, name) for member in self._locator.members()]
        try:
            async with aclosing(arrivals(at_once(questions), expected=ContentUnavailable)) as answers:
                return [known async for answer in answers for known in answer.known]
        except AllFailed as error:
            reason = refusal(error.reasons)
            if isinstance(reason, ContentNotFound):
                return ()
            raise reason from error

    async def vouch(self, repository: Repository) -> bool:
        """Whether a member knows from the upstream that anyone may pull from the repository."""
        refuse_to_forward()
        questions = [partial(member.vouch, repository) for member in self._locator.members()]
        try:
            async with aclosing(arrivals(at_once(questions), expected=ContentUnavailable)) as answers:
                async for is_public in answers:
                    if is_public:
                        return True
        except AllFailed:
            pass
        return False

    def _compared(self, offer: Offer, opened: OpenContent) -> Body:
        """The body of a request's first source; who takes over is not compared, so that no request wanders about."""
        has_other = partial(somebody_else_offers, self._locator, offer)
        return ComparedBody(opened.body, source=offer.member.address, rates=self._rates, has_other=has_other)

    async def _open_first(
        self, digest: Digest, wanted: RangeOf, *, size: int | None = None
    ) -> tuple[Offer, OpenContent]:
        async def open_offer(offer: Offer) -> tuple[Offer, OpenContent]:
            if size is not None and offer.content.size != size:
                raise PeerDeclined(f"{offer.member.address} has another size: {offer.content.size}")
            self.blame.require_verified(offer.content)
            return offer, await self._opener.open(offer, wanted(offer.content.size))

        offer, opened = await self._first(digest, open_offer, wanted=wanted, discard=_close)
        if not is_small(opened.content):
            self.blame.gave(offer, from_start=opened.span.start == 0)
        return offer, opened

    async def _first(
        self,
        digest: Digest,
        use: Callable[[Offer], Coroutine[Any, Any, T]],
        *,
        wanted: RangeOf | None = None,
        discard: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        refuse_to_forward()
        waves = one_by_one(self._attempts(digest, use, wanted))
        try:
            return await first_success(waves, expected=_TRY_NEXT, patience=_PATIENCE, discard=discard)
        except AllFailed as error:
            raise refusal(error.reasons) from error

    async def _attempts(
        self, digest: Digest, use: Callable[[Offer], Coroutine[Any, Any, T]], wanted: RangeOf | None
    ) -> AsyncGenerator[Attempt[T], None]:
        async with aclosing(self._locator.offers(digest, wanted)) as offers:
            async for offer in offers:
                yield partial(self._try, offer, use)

    async def _try(self, offer: Offer, use: Callable[[Offer], Coroutine[Any, Any, T]]) -> T:
        try:
            return await use(offer)
        except (SourceBroken, ContentCorrupt, PeerFailed):
            self._locator.avoid(offer)
            raise
        except (ContentUnavailable, RangeInvalid):
            self._locator.pass_by(offer)
            raise


async def _close(opened: tuple[Offer, OpenContent]) -> None:
    await opened[1].body.aclose()
