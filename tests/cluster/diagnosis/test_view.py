"""A view of the cluster costs so many questions and bytes at any size, names nothing, and survives nonsense."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.view import ClusterView, Flow, Hour, image_keys, image_names, label_of
from registryd.cluster.diagnosis.checkup import MOST_ASKED, Checkup
from registryd.cluster.diagnosis.messages import report_message, report_value
from registryd.cluster.diagnosis.values import Vitals
from registryd.cluster.members.member import MemberState
from registryd.cluster.rpc.limits import MAX_REQUEST_BYTES
from registryd.notation import Address
from registryd.pb.registryd.v1 import diagnosis_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

VITALS = Vitals(name="n" * 253, version="1" * 64, time=1e9, up_seconds=2**40, images=300, sent_bytes=2**50)
LABEL = label_of(f"sha256:{'f' * 64}")
FULL = ClusterView(
    flows=(Flow(LABEL, 2**50, 2**49, "fd00:1234:5678:9abc:def0:1234:5678:9abc"),) * 16,
    images=image_keys(f"ghcr.io/corp/app{number}:v1" for number in range(300)),
    hours=(Hour(2**45, 2**45),) * 24,
)
NODE = Node(NodeId.random(), 3174)


def test_a_view_comes_as_it_was_told() -> None:
    report = report_value(report_message(NODE, VITALS, FULL))
    assert report.view == FULL
    assert report_value(report_message(NODE, VITALS)).view == ClusterView()


def test_the_largest_fits_into_what_anybody_takes() -> None:
    size = len(report_message(NODE, VITALS, FULL).SerializeToString())
    print(f"\nthe largest report has {size} bytes")
    assert size < 6000 < MAX_REQUEST_BYTES


def test_names_of_images_are_not_in_it() -> None:
    assert b"corp" not in report_message(NODE, VITALS, FULL).SerializeToString()


def test_an_image_counts_once_whatever_names_containerd_has_for_it() -> None:
    digest = f"sha256:{'a' * 64}"
    names = (
        digest,
        f"ghcr.io/corp/app@{digest}",
        "ghcr.io/corp/app:v1",
        f"localhost:5000/tool@{digest}",
        "import-2026",
    )
    assert image_names(names) == ("ghcr.io/corp/app:v1", f"localhost:5000/tool@{digest}")
    assert len(image_keys(names)) == 2


def test_nonsense_is_left_out_and_bounded() -> None:
    reply = report_message(NODE, VITALS)
    for label, size, sent, receiver in (
        ("<script>", 1, 1, "10.0.0.1"),
        (LABEL, 1, 2, "10.0.0.1"),
        (LABEL, 2, 1, "a b"),
        (LABEL, 2**63, 1, "10.0.0.1"),
        (f"{LABEL}0", 2, 1, "10.0.0.1"),
    ):
        reply.flows.append(pb.Flow(label=label, size=size, sent=sent, receiver=receiver))
    reply.flows.extend([pb.Flow(label=LABEL, size=2, sent=1, receiver="10.0.0.1")] * 1000)
    reply.images_by_key.extend([b"short", b"x" * 8] * 1000)
    reply.hours.extend([pb.Hour(spared_bytes=2**64 - 1)] + [pb.Hour(spared_bytes=1)] * 1000)
    view = report_value(reply).view
    assert view is not None
    assert (len(view.flows), len(view.images), len(view.hours)) == (11, 128, 23)


# What it costs


@dataclass
class FakeMember:
    """Of a roster that nobody has to greet."""

    address: Address
    is_available: bool = True
    since: float = 0.0
    trouble: str | None = None
    node: Node | None = None

    @property
    def state(self) -> MemberState:
        return MemberState.UP if self.is_available else MemberState.SET_ASIDE

    def heard_from(self, node: Node) -> None:
        self.node = node

    def answered(self) -> None: ...

    def failed(self, _error: object, *, asked_at: float) -> None: ...


@dataclass
class CountingChannels:
    """Credentials whose channels answer at once."""

    asked: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0

    def open_channel(self, target: str, _options: object) -> CountingChannel:
        return CountingChannel(self, target)


class CountingChannel:
    def __init__(self, channels: CountingChannels, target: str) -> None:
        self._channels = channels
        self._target = target

    def unary_unary(self, path: str) -> Callable[..., Awaitable[bytes]]:
        async def ask(request: bytes) -> bytes:
            assert path.endswith("/Report")
            assert pb.ReportRequest.FromString(request).with_view
            self._channels.asked[self._target] += 1
            reply = report_message(NODE, VITALS, FULL).SerializeToString()
            self._channels.received_bytes += len(reply)
            return reply

        return ask

    async def close(self) -> None: ...


class Roster:
    def __init__(self, members: list[FakeMember]) -> None:
        self._members = members

    def everyone(self) -> list[FakeMember]:
        return self._members


@pytest.mark.parametrize("size", [10, 100, 5000])
async def test_a_look_asks_32_members_and_others_the_next_time(size: int) -> None:
    members = [FakeMember(Address(f"10.{number // 250}.{number % 250}.1", 3173)) for number in range(size - 1)]
    for member in members[:: max(5, size // 50)]:
        member.is_available = False
    channels = CountingChannels()
    checkup = Checkup(
        cast("Any", Roster(members)), cast("Any", channels), own_address=lambda: members[0].address, content_port=0
    )
    found = await checkup.reports(seconds=30)
    count = min(size - 1, MOST_ASKED)
    assert sum(channels.asked.values()) == count
    print(f"\n{size} nodes: {count} questions, {channels.received_bytes} bytes a look")
    assert channels.received_bytes <= 6000 * count
    assert len(found) == size - 1
    assert sum(each.report is not None for each in found) == count
    for _ in range(3):
        found = await checkup.reports(seconds=30)
    assert sum(channels.asked.values()) == 4 * count
    # Those that were asked before are remembered, and nobody is asked twice before all have been.
    assert sum(each.report is not None for each in found) == min(size - 1, 4 * count)
    if size > 4 * MOST_ASKED:
        assert max(channels.asked.values()) == 1
