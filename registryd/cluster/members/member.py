"""One discovered address: the peer behind it and what is known of its health."""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from registryd.cluster.contract.names import NameAnswer
from registryd.cluster.errors import PeerFailed, PeerSilent, PeerUnreachable
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.transfer.monitoring.thresholds import AVOID_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.node import Node, NodeId
    from registryd.cluster.contract.peer import FindAnswer, Peer, Wait
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.observability.metrics import PeerTrouble
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName

T = TypeVar("T")


class MemberState(Enum):
    """Whether a member is asked: yes when nothing is known against it."""

    UNKNOWN = "unknown"
    UP = "up"
    SET_ASIDE = "set aside"
    SELF = "self"


class Member:
    """Asks its peer and takes note of how that went; `on_change` is called after each change of `state`.

    Each answer to any question is a sign of life, a "no" as well. Raises as Peer does. An answer that comes from this
    very node is a "no".
    """

    def __init__(
        self,
        address: Address,
        peer: Peer,
        *,
        own_id: NodeId,
        on_change: Callable[[Member], None],
        on_doubt: Callable[[Member], None] = lambda _: None,
    ) -> None:
        """`on_doubt` is called when it had better be asked soon whether it is still there."""
        self.address = address
        self.state = MemberState.UNKNOWN
        self.failures = 0
        """How often in a row it failed, probes included; it starts anew with the first real answer."""
        self.life = 0
        """How often it has answered again after it could not even be greeted; counted once a minute.

        Else a member that fails on purpose could begin anew each time.
        """
        self.since = time.time()
        """When it came to be in this state, for this reason: seconds since the epoch."""
        self.trouble: PeerTrouble | None = None
        """Why it is set aside."""
        self.heard_at = float("-inf")
        """When it last answered anything, by the event loop's clock."""
        self.content_port: int | None = None
        """Where it has said that its bytes door is."""
        self._is_away = False
        self._begun_anew_at = float("-inf")
        self._peer = peer
        self._on_doubt = on_doubt
        self._own_id = own_id
        self._on_change = on_change

    @property
    def is_available(self) -> bool:
        """Whether this node may ask the member."""
        return self.state is MemberState.UP or self.state is MemberState.UNKNOWN

    async def probe(self, *, again: bool = False) -> bool:
        """Greet the member; returns whether it answered. With `again`, silence is only believed the second time."""
        asked_at = asyncio.get_running_loop().time()
        try:
            try:
                node = await self._peer.hello()
            except PeerSilent:
                if not again:
                    raise
                node = await self._peer.hello()
        except PeerFailed as error:
            if self.heard_at > asked_at:  # it has answered something else meanwhile
                return True
            self._is_away = isinstance(error, PeerSilent | PeerUnreachable)
            self._fail(error)
            return False
        self.heard_from(node)
        return True

    def failed(self, error: PeerFailed, *, asked_at: float) -> None:
        """A question that was asked elsewhere at that time failed; an answer that came meanwhile says otherwise."""
        if self.heard_at >= asked_at:
            return
        if self.state is MemberState.SET_ASIDE:
            self._explain(error)
        elif self.state is not MemberState.SELF:
            self._fail(error)

    def doubted(self) -> None:
        """Note that a part of the member, such as its other port, does not answer."""
        if self.state is MemberState.UP:
            self._on_doubt(self)

    def answered(self) -> None:
        """Note that the member answered, with whatever answer."""
        self.heard_at = asyncio.get_running_loop().time()
        if self.state is not MemberState.SELF:
            self._become(MemberState.UP)

    async def find(self, sought: Sought, wait: Wait | None = None) -> FindAnswer:
        finding = await self._judged(self._peer.find(sought, wait))
        self._refuse_self(finding.node)
        return finding

    async def tell_slow(self, sought: Sought) -> None:
        await self._judged(self._peer.tell_slow(sought))

    async def claim(self, claim: Claim) -> ClaimReply:
        return await self._judged(self._peer.claim(claim))

    async def announce(self, announcement: Announcement) -> Receipt:
        return await self._judged(self._peer.announce(announcement))

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        return await self._judged(self._peer.announce_names(announcement))

    async def resolve(self, name: TaggedName) -> NameAnswer:
        resolution = await self._judged(self._peer.resolve(name))
        self._refuse_self(resolution.node)
        return NameAnswer(resolution.known, resolution.is_settled)

    async def vouch(self, repository: Repository) -> bool:
        return await self._judged(self._peer.vouch(repository))

    async def doubt(self, digest: Digest) -> None:
        await self._judged(self._peer.doubt(digest))

    async def keep(self, offer: CopyOffer) -> CopyAnswer:
        return await self._judged(self._peer.keep(offer))

    async def read(self, sought: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        chunks = self._peer.read(sought, span, is_growing=is_growing)
        try:
            while chunk := await self._judged(anext(chunks, b"")):
                yield chunk
        finally:
            await chunks.aclose()

    async def aclose(self) -> None:
        await self._peer.aclose()

    async def _judged(self, answer: Awaitable[T]) -> T:
        try:
            given = await answer
        except PeerFailed as error:
            if self.is_available:  # of several questions under way at once, only the first to fail counts
                self._fail(error)
            raise
        except ContentUnavailable:
            self._forgive()
            raise
        self._forgive()
        return given

    def _forgive(self) -> None:
        self.failures = 0
        self.answered()

    def _fail(self, error: PeerFailed) -> None:
        self.failures += 1
        self._explain(error)
        self._become(MemberState.SET_ASIDE)

    def _explain(self, error: PeerFailed) -> None:
        """A process that was killed hangs up first, and refuses after that: what is told follows."""
        is_news = self.state is MemberState.SET_ASIDE and error.trouble is not self.trouble
        self.trouble = error.trouble
        if is_news:
            self.since = time.time()
            self._on_change(self)

    def heard_from(self, node: Node) -> None:
        """Note the identity that the member states."""
        self.heard_at = asyncio.get_running_loop().time()
        self.content_port = node.content_port
        self._become(MemberState.SELF if node.id == self._own_id else MemberState.UP)

    def _refuse_self(self, node: Node) -> None:
        self.heard_from(node)
        if self.state is MemberState.SELF:
            raise ContentNotFound(f"{self.address} is this node")

    def _become(self, state: MemberState) -> None:
        if self._is_away and state is not MemberState.SET_ASIDE:
            self._is_away = False
            now = asyncio.get_running_loop().time()
            if now - self._begun_anew_at >= AVOID_SECONDS:
                self.life, self._begun_anew_at = self.life + 1, now
        if state is not self.state:
            self.state, self.since = state, time.time()
            if state is not MemberState.SET_ASIDE:
                self.trouble = None
            self._on_change(self)
