"""This node's answers to questions about its health. The module has no gRPC, only values and messages."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.diagnosis.contact import ContactOutcome, contact
from registryd.cluster.diagnosis.messages import reached_message, report_message, requester_of, words_of
from registryd.cluster.diagnosis.values import Reached
from registryd.content.source import ContentUnavailable
from registryd.content.trial import TooManyTrials
from registryd.pb.registryd.v1 import diagnosis_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from registryd.cluster.contract.node import Node
    from registryd.cluster.contract.view import ClusterView
    from registryd.cluster.diagnosis.values import Vitals
    from registryd.content.trial import Trials
    from registryd.identity.credentials import ClientCredentials
    from registryd.identity.requester import Requester
    from registryd.notation import Address


# One report on the node serves every question within this time, because the report costs a question to containerd.
_TAKEN_SECONDS: Final = 1.0


class Discovered(Protocol):
    """The list of members; `registryd.cluster.members.roster.Members` is one."""

    def states(self) -> Mapping[Address, object]:
        """The states of all members that discovery gives, by address."""

    async def content_port_of(self, address: Address) -> int | None:
        """The address of the member's bytes door, as the member says; None without a member, or without an answer."""


class DiagnosisService:
    """The questions of diagnosis.proto. Raises OciError for a request that is not valid, ContentUnavailable."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        node: Node,
        members: Discovered,
        *,
        vitals: Callable[[], Awaitable[Vitals]],
        view: Callable[[], Awaitable[ClusterView]] | None = None,
        trials: Trials,
        credentials: ClientCredentials,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._clock = clock
        self._taking = asyncio.Lock()
        self._taken: Vitals | None = None
        self._taken_at = 0.0
        self._seen: ClusterView | None = None
        self._seen_at = 0.0
        self._node = node
        self._members = members
        self._vitals = vitals
        self._trials = trials
        self._credentials = credentials

    async def report(self, request: pb.ReportRequest, _requester: Requester) -> pb.ReportReply:
        async with self._taking:
            vitals = await self._latest_vitals()
            view = await self._latest_view() if request.with_view else None
        return report_message(self._node, vitals, view)

    async def _latest_vitals(self) -> Vitals:
        if self._taken is None or self._clock() >= self._taken_at + _TAKEN_SECONDS:
            self._taken, self._taken_at = await self._vitals(), self._clock()
        return replace(self._taken, time=self._taken.time + self._clock() - self._taken_at)

    async def _latest_view(self) -> ClusterView | None:
        if self._view and (self._seen is None or self._clock() >= self._seen_at + _TAKEN_SECONDS):
            self._seen, self._seen_at = await self._view(), self._clock()
        return self._seen

    async def reach(self, request: pb.ReachRequest, requester: Requester) -> pb.ReachReply:
        address, door = requester_of(request, requester.address)
        if address not in self._members.states():
            return reached_message(Reached(is_known=False))
        context = self._credentials.client_context()
        async with asyncio.TaskGroup() as group:
            peers = group.create_task(contact(address, context), name="reach peers' port")
            bytes_door = group.create_task(self._contact_door(address, door), name="reach bytes port")
        return reached_message(
            Reached(is_known=True, peers_problem=peers.result().problem, content_problem=bytes_door.result().problem)
        )

    async def rehearse(self, request: pb.RehearseRequest, _requester: Requester) -> pb.RehearseReply:
        try:
            self._trials.offer(words_of(request))
        except TooManyTrials as error:
            raise ContentUnavailable(str(error)) from error
        return pb.RehearseReply()

    async def _contact_door(self, address: Address, door: Address | None) -> ContactOutcome:
        """The contact at the port that the member itself has named; a caller cannot have another port tried."""
        if door is None:
            return ContactOutcome()
        if await self._members.content_port_of(address) != door.port:
            return ContactOutcome(
                f"{door} is not tried: the member at {address} has not said that its bytes door is there"
            )
        # By TCP alone: whether it is behind TLS depends on the transport that it has chosen.
        return await contact(door, None)
