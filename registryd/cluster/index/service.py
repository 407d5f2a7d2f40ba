"""What this node answers as an index node: messages in, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.cluster.index.messages import announcement_value, claim_value, receipt_message, verdict_message
from registryd.cluster.index.name_messages import name_announcement_value

if TYPE_CHECKING:
    from registryd.cluster.index.desk import IndexDesk
    from registryd.cluster.index.names import NameDesk
    from registryd.identity.requester import Requester
    from registryd.pb.registryd.v1 import cluster_pb2 as pb


class IndexService:
    """The index part of cluster.proto. Raises OciError for a request that is not valid."""

    def __init__(self, desk: IndexDesk, names: NameDesk) -> None:
        self._desk = desk
        self._names = names

    async def claim(self, request: pb.ClaimRequest, requester: Requester) -> pb.ClaimReply:
        return verdict_message(await self._desk.decide(claim_value(request, requester)))

    async def announce(self, request: pb.AnnounceRequest, requester: Requester) -> pb.AnnounceReply:
        return receipt_message(self._desk.announce(announcement_value(request, requester)))

    async def announce_names(self, request: pb.AnnounceNamesRequest, requester: Requester) -> pb.AnnounceReply:
        return receipt_message(self._names.announce(name_announcement_value(request, requester)))
