"""One other node, as those see it that ask it something: questions and answers, without how they travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.node import Node
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """A peer's answer to "do you have this?"; no content means no, GrowingContent that it is arriving there.

    `is_not_for_name`: it is there, but not for the name that it is wanted for. `uploads`: how many bodies it
    is sending, without parts that other nodes could give as well; 0 also when it does not say. `is_receiving`: it is
    getting something from other nodes.
    """

    node: Node
    content: Content | None
    busy: bool
    ticket: str = ""
    is_not_for_name: bool = False
    uploads: int = 0
    is_receiving: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """A peer's answer to "what does this tag mean?"."""

    node: Node
    known: tuple[NamedContent, ...]
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """How long an answer may wait for growing content to have more than `beyond` bytes."""

    seconds: float
    beyond: int


class IndexNode(Protocol):
    """One node as an index node. Raises as Peer does."""

    async def claim(self, claim: Claim) -> ClaimReply:
        """Ask it where to get content from."""

    async def announce(self, announcement: Announcement) -> Receipt:
        """Tell it what this node has."""

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        """Tell it what names mean to this node. Raises PeerOutdated."""


class Peer(IndexNode, Protocol):
    """One other node. Every question raises PeerFailed when it cannot be asked, ContentUnavailable for a "no"."""

    async def hello(self) -> Node:
        """Ask which node answers at this address."""

    async def find(self, sought: Sought, wait: Wait | None = None) -> FindAnswer:
        """Whether the peer has the content for that name; while the content arrives there, the answer may wait."""

    async def tell_slow(self, sought: Sought) -> None:
        """Tell it that it gets the content much more slowly than others do, and is left for that."""

    async def resolve(self, name: TaggedName) -> Resolution:
        """Ask for the meanings of a tag."""

    async def vouch(self, repository: Repository) -> bool:
        """Whether the peer knows from the upstream that anyone may pull from the repository."""

    async def doubt(self, digest: Digest) -> None:
        """Tell it that what it gave of this content was wrong."""

    async def keep(self, offer: CopyOffer) -> CopyAnswer:
        """Whether the peer takes a copy of an image."""

    def read(self, sought: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        """The bytes of a span in chunks, never more than the span has; closing it ends the call.

        If the content `is_growing`, the peer may be held up, and whoever reads finds out (`StuckCheck`).
        """

    async def aclose(self) -> None:
        """Close the connection; calls that are under way fail."""
