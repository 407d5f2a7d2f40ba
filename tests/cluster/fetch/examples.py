"""A cluster whose members, index nodes and places do what an example says, in virtual time; it notes what is done."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import looptime

from registryd.cluster.contract.index import ClaimReply, NodeLocation
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import ContentCorrupt, PeerDeclined, PeerSilent, PeerUnreachable
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.cluster.fetch.fetching import Fetcher
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.members.member import Member
from registryd.content.growing import GrowingContent
from registryd.content.source import Content, NotForName, OpenContent
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from tests.fakes.entitled import said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from registryd.cluster.contract.index import Claim
    from registryd.cluster.contract.peer import Wait
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.transfer.sink import Sink

T = TypeVar("T")

DATA: Final = bytes(range(256)) * (5 << 12)
SIZE: Final = len(DATA)  # more than what is read whole, less than what comes from several sources
DIGEST: Final = Digest.of(DATA)
FETCH_WAIT: Final = 8.0
_PIECE: Final = 1 << 18


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 3173)


OWN: Final = NodeLocation(address(99))


def now() -> float:
    return asyncio.get_running_loop().time()


def all_of_it(size: int) -> Span:
    """A range that only content of the right size has."""
    if size < SIZE:
        raise RangeInvalid("it has less", size=size)
    return Span.whole(size)


class Says(Enum):
    """What a member answers when it is asked."""

    WHOLE = "whole"
    BUSY = "whole, and to be spared"
    GROWING = "growing: half of it, from a moment on"
    WAITING = "growing: nothing of it"
    ABSENT = "no"
    ELSEWHERE = "not for that name"
    SILENT = "nothing"


class Opens(Enum):
    """What becomes of an offer that is opened."""

    GIVES = "gives"
    BREAKS = "breaks"
    LIES = "lies"
    IS_GONE = "is gone"
    DECLINES = "declines"
    ELSEWHERE = "not for that name"
    HAS_LESS = "is not tried: it is said to be smaller"

    @property
    def is_failure(self) -> bool:
        """Whether the member is not asked for this digest again for a while."""
        return self in {Opens.BREAKS, Opens.LIES, Opens.IS_GONE}


_REASONS: Final[dict[Opens, Callable[[], Exception]]] = {
    Opens.BREAKS: lambda: SourceBroken("broke"),
    Opens.LIES: lambda: ContentCorrupt("lied"),
    Opens.IS_GONE: lambda: PeerUnreachable("is gone"),
    Opens.DECLINES: lambda: PeerDeclined("declined"),
    Opens.ELSEWHERE: lambda: NotForName("for another name"),
}


@dataclass(frozen=True)
class Character:
    """`seconds`: until an opening has ended; `since`: when content begins to grow; `gives`: bytes until it breaks.

    `lingers`: how long a question takes to end when it is given up.
    """

    says: Says = Says.WHOLE
    opens: Opens = Opens.GIVES
    seconds: float = 0.0
    since: float = 0.0
    gives: int = SIZE
    lingers: float = 0.0

    @property
    def size(self) -> int:
        """As the member says it."""
        return SIZE // 2 if self.opens is Opens.HAS_LESS else SIZE

    @property
    def can_give(self) -> bool:
        return self.opens is Opens.GIVES and self.says in {Says.WHOLE, Says.BUSY, Says.GROWING}


@dataclass
class Asked:
    number: int
    at: float
    is_wait: bool


@dataclass
class Opening:
    """One opening of an offer; `reason` is why it failed."""

    number: int
    offer: Offer
    span: Span
    at: float
    ended_at: float | None = None
    reason: Exception | None = None
    is_given: bool = False
    is_closed: bool = False

    @property
    def is_left_open(self) -> bool:
        return self.ended_at is None or (self.is_given and not self.is_closed)


class GivenBody:
    """Gives what its character says of the span, then breaks."""

    def __init__(self, opening: Opening, character: Character) -> None:
        self._opening = opening
        self._character = character

    @property
    def length(self) -> int:
        return self._opening.span.length

    async def send_to(self, sink: Sink) -> None:
        span = self._opening.span
        stop = min(span.stop, span.start + self._character.gives)
        for start in range(span.start, stop, _PIECE):
            await sink.write(DATA[start : min(start + _PIECE, stop)])
        if stop < span.stop:
            self._opening.reason = SourceBroken("broke off")
            raise self._opening.reason

    async def aclose(self) -> None:
        self._opening.is_closed = True


@dataclass
class ScriptedIndex:
    """Index nodes that name `known` as told: the first three of those that were not reported; or what `replies` say."""

    known: Sequence[int] = ()
    replies: list[ClaimReply | None] | None = None
    is_whole: bool = False
    claims: list[Claim] = field(default_factory=list)
    answers: list[ClaimReply | None] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    _reported: set[Address] = field(default_factory=set)

    def own_place(self) -> NodeLocation:
        return OWN

    async def claim(self, claim: Claim) -> ClaimReply | None:
        await asyncio.sleep(0.001)
        if claim.is_question:
            return ClaimReply()
        reply = self._next(claim)
        self.claims.append(claim)
        self.answers.append(reply)
        self.at.append(now())
        return reply

    def _next(self, claim: Claim) -> ClaimReply | None:
        if self.replies is not None:
            return self.replies.pop(0) if self.replies else ClaimReply()
        self._reported |= {*claim.failed, *claim.unfit}
        left = [address(number) for number in self.known if address(number) not in self._reported]
        return ClaimReply(tuple(left[:3]), is_whole=self.is_whole and bool(left))


class OwnStore:
    """What this node receives: the size is known, because containerd has begun."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        return GrowingContent(digest, SIZE, None, 0)


class EndingPlaces:
    """Requests that may wait for so long, and end then for this reason."""

    def __init__(self, seconds: float, reason: Exception) -> None:
        self.seconds = seconds
        self.reason = reason
        self.is_ended = False

    @asynccontextmanager
    async def waiting(self, digest: Digest, size: int, start: int = 0) -> AsyncIterator[None]:
        assert digest == DIGEST
        limit = asyncio.timeout(self.seconds)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            assert limit.expired()
            self.is_ended = True
            raise self.reason from error


class Example:
    """Members 1, 2, ... of these characters, index nodes, and a fetcher that asks them. Keeps what it did."""

    def __init__(self, characters: Sequence[Character], index: ScriptedIndex) -> None:
        self.characters = dict(enumerate(characters, start=1))
        self.index = index
        self.asked: list[Asked] = []
        self.openings: list[Opening] = []
        self.questions = 0
        """Being asked at this moment."""
        self._members = {
            address(number): Member(
                address(number), cast("Any", _Peer(self, number)), own_id=NodeId("own"), on_change=lambda _: None
            )
            for number in self.characters
        }
        self.coordinator = FetchCoordinator(cast("Any", index), self, OwnStore(), fetch_wait=FETCH_WAIT)
        self.locator = MemberLocator(self, fanout_limit=32, coalescing=self.coordinator)
        self.fetcher = Fetcher(self.locator, cast("Any", self), blame=cast("Any", _NoBlame()), receiving=tuple)

    # As a roster, and as candidates

    def addresses(self) -> frozenset[Address]:
        return frozenset(self._members)

    def get(self, of: Address) -> Member | None:
        return self._members.get(of)

    def available(self) -> list[Member]:
        return list(self._members.values())

    # As an opener

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        number = self.number_of(offer.member.address)
        character = self.characters[number]
        opening = Opening(number, offer, span, now())
        self.openings.append(opening)
        try:
            await asyncio.sleep(character.seconds)
            if make := _REASONS.get(character.opens):
                opening.reason = make()
                raise opening.reason
            opening.is_given = True
            return OpenContent(offer.content, span, GivenBody(opening, character))
        finally:
            opening.ended_at = now()

    def number_of(self, of: Address) -> int:
        return next(number for number in self.characters if address(number) == of)

    @property
    def opened(self) -> list[int]:
        return [opening.number for opening in self.openings]

    def require_nothing_left(self) -> None:
        assert not [opening for opening in self.openings if opening.is_left_open]
        assert not self.questions


@dataclass
class _Peer:
    example: Example
    number: int

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        example = self.example
        example.asked.append(Asked(self.number, now(), wait is not None))
        example.questions += 1
        try:
            return await self._answer(wanted, wait)
        except asyncio.CancelledError:
            await asyncio.sleep(example.characters[self.number].lingers)
            raise
        finally:
            example.questions -= 1

    async def _answer(self, wanted: Sought, wait: Wait | None) -> FindAnswer:
        character, node = self.example.characters[self.number], Node(NodeId("n"), 0)
        await asyncio.sleep(0.001)
        match character.says:
            case Says.SILENT:
                await asyncio.sleep(1.0 + (wait.seconds if wait else 0.0))
                raise PeerSilent("silent")
            case Says.ABSENT:
                return FindAnswer(node, None, busy=False)
            case Says.ELSEWHERE:
                return FindAnswer(node, None, busy=False, is_not_for_name=True)
            case Says.WHOLE | Says.BUSY:
                content = Content(wanted.digest, character.size, None)
                return FindAnswer(node, said(content), busy=character.says is Says.BUSY)
            case Says.WAITING | Says.GROWING:
                return FindAnswer(node, said(await self._growing(wanted.digest, wait)), busy=False)

    async def _growing(self, digest: Digest, wait: Wait | None) -> GrowingContent:
        character = self.example.characters[self.number]
        until = now() + (wait.seconds if wait else 0.0)
        if character.says is Says.GROWING and character.since <= until:
            await asyncio.sleep(max(0.0, character.since - now()))
            return GrowingContent(digest, character.size, None, SIZE // 2)
        await asyncio.sleep(until - now())
        return GrowingContent(digest, SIZE, None, 0)


class _NoBlame:
    def require_verified(self, content: Content) -> None:
        """Nothing was wrong."""

    def may_be_shared_out(self, digest: Digest) -> bool:
        return True

    def gave(self, offer: Offer, *, from_start: bool) -> None:
        """Nobody looks."""


def run(example: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an example on a loop of its own, in virtual time: no task and no generator is left when it ends."""

    async def main() -> T:
        generators: list[Any] = []
        hooks = sys.get_asyncgen_hooks()

        def note(generator: Any) -> None:
            generators.append(generator)
            if hooks.firstiter is not None:
                hooks.firstiter(generator)

        sys.set_asyncgen_hooks(firstiter=note)
        result = await example()
        for _ in range(3):
            await asyncio.sleep(0)
        left = [each for each in generators if each.ag_frame is not None]
        assert not left, f"generators were left: {left}"
        tasks = asyncio.all_tasks() - {cast("Any", asyncio.current_task())}
        assert not tasks, f"tasks were left: {tasks}"
        return result

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(main())
