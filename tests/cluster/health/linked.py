"""Nodes with links of some width, and members for them, for what is told by samples."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerSilent
from registryd.cluster.members.member import Member
from registryd.content.growing import GrowingContent
from registryd.content.source import Content
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.transfer.monitoring.thresholds import PART_BYTES, SAMPLE_BYTES
from tests.fakes.entitled import said, sought

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.content.sought import Sought
    from registryd.oci.ranges import Span

MIB = 1 << 20
SIZE = 100 * MIB
DIGEST = Digest.of(b"")
COMPANION = Digest.of(b"another layer of the same image")


@dataclass
class Linked:
    """A node whose link has room for so many MiB a second; None: it gives nothing, `is_silent`: and says nothing.

    It gets so many MiB a second of each content itself, beyond the bytes that it `had`.
    """

    room: float | None
    is_silent: bool = False
    gets: dict[Digest, float] = field(default_factory=lambda: {DIGEST: 1.0})
    had: int = 0
    is_whole: bool = False
    reads: int = 0
    uploads: int = 0

    async def find(self, wanted: Sought, wait: object = None) -> FindAnswer:
        assert wait is None
        have = self.had + int(self.gets[wanted.digest] * asyncio.get_running_loop().time() * MIB)
        growing = GrowingContent(wanted.digest, SIZE, None, have)
        content = Content(wanted.digest, SIZE, None) if self.is_whole else growing
        return FindAnswer(Node(NodeId("n"), 0), said(content), busy=False, uploads=self.uploads)

    async def read(self, wanted: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        assert wanted == sought(DIGEST)
        assert span.length == PART_BYTES
        assert span.start in range(0, SAMPLE_BYTES, PART_BYTES)
        if self.is_silent:
            await asyncio.sleep(60)
            raise PeerSilent("nothing comes")
        if self.room is None:
            raise PeerDeclined("not here")
        await asyncio.sleep(span.length / self.room / MIB)
        yield bytes(span.length)


def member(number: int, node: Linked) -> Member:
    return Member(Address("10.0.0.1", number), cast("Any", node), own_id=NodeId("own"), on_change=lambda _member: None)
