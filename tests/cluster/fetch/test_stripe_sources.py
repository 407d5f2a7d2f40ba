"""What a node asks members about a stripe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerSilent
from registryd.cluster.fetch.stripe_sources import StripeSources
from registryd.cluster.members.member import Member
from registryd.content.growing import GrowingContent
from registryd.content.source import Content, ContentUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest
from tests.fakes.entitled import said, sought

if TYPE_CHECKING:
    from registryd.content.sought import Sought

pytestmark = pytest.mark.looptime

SIZE = 1000
WANTED = replace(sought(Digest.of(b"a layer")), stripe=3)
ADDRESS = Address("10.0.0.1", 3173)


@dataclass
class Peer:
    """Answers a find with this content, or with this error."""

    says: Content | ContentUnavailable

    async def find(self, wanted: Sought, wait: object = None) -> FindAnswer:
        assert (wanted, wait) == (WANTED, None)
        if isinstance(self.says, Content):
            return FindAnswer(Node(NodeId("n"), 0), said(self.says), busy=False)
        raise self.says


@dataclass
class Index:
    """Knows one member, or none."""

    peer: Peer | None

    def member(self, address: Address) -> Member | None:
        if self.peer is None:
            return None
        return Member(address, cast("Any", self.peer), own_id=NodeId("own"), on_change=lambda _: None)


def growing(available: int) -> GrowingContent:
    return GrowingContent(WANTED.digest, SIZE, None, available)


@pytest.mark.parametrize(
    ("says", "waits"),
    [
        (growing(400), True),
        (growing(399), True),
        (growing(401), False),
        (Content(WANTED.digest, SIZE, None), False),
        (PeerDeclined("no"), False),
        (PeerSilent("gone"), False),
        (None, False),
    ],
    ids=["growing", "less", "more", "whole", "no", "silent", "no member"],
)
async def test_only_one_that_answers_and_has_nothing_more_waits_itself(
    says: Content | ContentUnavailable | None, *, waits: bool
) -> None:
    index = Index(None if says is None else Peer(says))
    parts = cast("Any", None)
    sources = StripeSources(cast("Any", index), parts, blame=parts, limited=parts, watched=parts)
    assert await sources.has_no_more(ADDRESS, WANTED, 400) is waits
