"""One discovered address: the peer behind it and what is known of its health."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from registryd.cluster.errors import PeerFailed
from registryd.cluster.index.naming import NameAnswer
from registryd.content.source import ContentNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from registryd.cluster.index.naming import NameAnnouncement
    from registryd.cluster.index.values import Announcement, Claim, Receipt, Verdict
    from registryd.cluster.node import Node, NodeId
    from registryd.cluster.peer import Peer, Wait
    from registryd.cluster.wire import Finding
    from registryd.notation import Address
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

    Raises as Peer does. An answer that comes from this very node is a "no".
    """

    def __init__(self, address: Address, peer: Peer, *, own_id: NodeId, on_change: Callable[[Member], None]) -> None:
        self.address = address
        self.state = MemberState.UNKNOWN
        self.failures = 0
        """How often in a row it failed, probes included; it starts anew with the first real answer."""
        self.last_failure = ""
        self._peer = peer
        self._own_id = own_id
        self._on_change = on_change

    @property
    def is_available(self) -> bool:
        """Whether it may be asked."""
        return self.state is MemberState.UP or self.state is MemberState.UNKNOWN

    async def probe(self) -> bool:
        """Ask who is there; whether there was an answer."""
        try:
            node = await self._peer.hello()
        except PeerFailed as error:
            self._fail(error)
            return False
        self._heard_from(node)
        return True

    async def find(self, digest: Digest, wait: Wait | None = None) -> Finding:
        finding = await self._judged(self._peer.find(digest, wait))
        self._refuse_self(finding.node)
        return finding

    async def claim(self, claim: Claim) -> Verdict:
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

    async def read(self, digest: Digest, span: Span) -> AsyncGenerator[bytes, None]:
        chunks = self._peer.read(digest, span)
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
        self.failures = 0
        return given

    def _fail(self, error: PeerFailed) -> None:
        self.failures += 1
        self.last_failure = str(error)
        self._become(MemberState.SET_ASIDE)

    def _heard_from(self, node: Node) -> None:
        self._become(MemberState.SELF if node.id == self._own_id else MemberState.UP)

    def _refuse_self(self, node: Node) -> None:
        self._heard_from(node)
        if self.state is MemberState.SELF:
            raise ContentNotFound(f"{self.address} is this node")

    def _become(self, state: MemberState) -> None:
        if state is not self.state:
            self.state = state
            self._on_change(self)
