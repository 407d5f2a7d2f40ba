"""This node's answers as an index node: messages in, messages out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.cluster.rpc.index_codec import announcement_value, claim_value, receipt_message, verdict_message
from registryd.cluster.rpc.name_codec import name_announcement_value

if TYPE_CHECKING:
    from registryd.cluster.index.desk import IndexState
    from registryd.cluster.index.names import NameIndexState
    from registryd.cluster.index.speakers import MaySpeak
    from registryd.identity.requester import Requester
    from registryd.pb.registryd.v1 import cluster_pb2 as pb


class IndexService:
    """The index part of cluster.proto. Raises OciError for a request that is not valid."""

    def __init__(self, desk: IndexState, names: NameIndexState, speakers: MaySpeak) -> None:
        self._desk = desk
        self._names = names
        self._speakers = speakers

    async def claim(self, request: pb.ClaimRequest, requester: Requester) -> pb.ClaimReply:
        claim = claim_value(request, requester)
        if not claim.is_question and not await self._speakers.may_speak(requester, claim.claimant.address.host):
            # It is told what there is to know, and changes nothing.
            claim = replace(claim, is_question=True)
        return verdict_message(await self._desk.decide(claim))

    async def announce(self, request: pb.AnnounceRequest, requester: Requester) -> pb.AnnounceReply:
        announcement = announcement_value(request, requester)
        if not await self._speakers.may_speak(requester, announcement.holder.address.host):
            return receipt_message(self._desk.pass_over())
        return receipt_message(self._desk.announce(announcement))

    async def announce_names(self, request: pb.AnnounceNamesRequest, requester: Requester) -> pb.AnnounceReply:
        return receipt_message(self._names.announce(name_announcement_value(request, requester)))
