from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryd.cluster.contract.names import MAX_NAMED_TARGETS
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.rpc.codec import (
    RequestInvalid,
    find_reply,
    finding,
    parse_reply,
    parse_request,
    read_reply,
    resolve_reply,
    sought_value,
    stripe_message,
)
from registryd.cluster.rpc.codec import resolution as resolution_of
from registryd.content.sought import Sought
from registryd.content.source import Content, NamedContent
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor, is_media_type
from registryd.oci.digest import Digest
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.striping import STRIPES
from tests.fakes.entitled import REPOSITORY

NODE = Node(NodeId("node-1"), 3174)
DIGEST = Digest.of(b"")
TARGET = Descriptor(OCI_MANIFEST, DIGEST, 7)

# How long an example takes is the machine's affair.
in_its_own_time = settings(deadline=None)


@pytest.mark.parametrize("content", [None, Content(DIGEST, 0, None), Content(DIGEST, 2**40, "application/x-layer")])
@pytest.mark.parametrize("busy", [False, True])
def test_a_finding_survives_the_wire(content: Content | None, *, busy: bool) -> None:
    reply = pb.FindReply.FromString(find_reply(NODE, content, busy=busy).SerializeToString())
    got = finding(reply, DIGEST)
    assert (got.node, got.content, got.busy) == (NODE, content, busy)


@pytest.mark.parametrize("size", [1, 127, 128, 16383, 16384, 256 * 1024, 1024 * 1024])
def test_a_read_reply_is_what_protobuf_makes_of_it(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert read_reply(memoryview(data)[:size]) == pb.ReadReply(data=data[:size]).SerializeToString()


def test_the_newest_names_survive_the_wire() -> None:
    known = [NamedContent(TARGET, float(second)) for second in range(MAX_NAMED_TARGETS + 5)]
    got = resolution_of(resolve_reply(NODE, known))
    assert [named.seen_at for named in got.known] == [float(second) for second in range(20, 4, -1)]


def test_more_names_than_there_can_be() -> None:
    reply = resolve_reply(NODE, [NamedContent(TARGET, 0.0)])
    reply.targets.extend([reply.targets[0]] * MAX_NAMED_TARGETS)
    with pytest.raises(PeerGarbled, match="17 targets"):
        resolution_of(reply)


@pytest.mark.parametrize(
    "target",
    [
        pb.NamedContent(digest="sha256:12", media_type=OCI_MANIFEST),
        pb.NamedContent(digest=str(DIGEST), media_type=""),
        pb.NamedContent(digest=str(DIGEST), media_type=OCI_MANIFEST, size=2**63),
        pb.NamedContent(digest=str(DIGEST), media_type=OCI_MANIFEST, seen_at=float("nan")),
        pb.NamedContent(digest=str(DIGEST), media_type=OCI_MANIFEST, seen_at=float("inf")),
    ],
)
def test_targets_that_cannot_be(target: pb.NamedContent) -> None:
    reply = resolve_reply(NODE, [])
    reply.targets.append(target)
    with pytest.raises(PeerGarbled):
        resolution_of(reply)


@pytest.mark.parametrize(
    "node", [pb.Node(), pb.Node(id="a b"), pb.Node(id="a" * 65), pb.Node(id="a", content_port=65536)]
)
def test_nodes_that_cannot_be(node: pb.Node) -> None:
    with pytest.raises(PeerGarbled):
        finding(pb.FindReply(node=node), DIGEST)


def test_requests_that_are_none() -> None:
    with pytest.raises(RequestInvalid, match="not a FindRequest"):
        parse_request(pb.FindRequest, b"\xff")


@in_its_own_time
@given(st.binary(max_size=200))
def test_arbitrary_replies_are_valid_or_garbled(raw: bytes) -> None:
    try:
        got = finding(parse_reply(pb.FindReply, raw), DIGEST)
    except PeerGarbled:
        return
    assert got.content is None or got.content.size >= 0


@in_its_own_time
@given(
    st.builds(
        pb.FindReply,
        node=st.builds(pb.Node, id=st.text(max_size=70), content_port=st.integers(0, 2**32 - 1)),
        content=st.builds(pb.Content, size=st.integers(0, 2**64 - 1), media_type=st.text(max_size=300)),
    )
)
def test_what_is_let_in_may_stand_in_a_header(reply: pb.FindReply) -> None:
    try:
        got = finding(reply, DIGEST)
    except PeerGarbled:
        return
    assert got.content is not None
    assert got.content.media_type is None or is_media_type(got.content.media_type)


@in_its_own_time
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_time_is_in_the_future(seen_at: float) -> None:
    [named] = resolution_of(resolve_reply(NODE, [NamedContent(TARGET, seen_at)])).known
    assert named.seen_at <= time.time()


def test_a_node_says_how_many_bodies_it_is_sending_and_an_older_one_does_not() -> None:
    assert finding(find_reply(NODE, None, busy=False, uploads=3), Digest.of(b"")).uploads == 3
    assert finding(find_reply(NODE, None, busy=False), Digest.of(b"")).uploads == 0
    assert finding(find_reply(NODE, None, busy=False, is_receiving=True), Digest.of(b"")).is_receiving
    assert not finding(find_reply(NODE, None, busy=False), Digest.of(b"")).is_receiving


@pytest.mark.parametrize("stripe", [None, *range(STRIPES)])
def test_which_stripe_is_sought_survives_the_wire(stripe: int | None) -> None:
    sought = Sought(DIGEST, REPOSITORY, stripe=stripe)
    assert sought_value(str(DIGEST), str(REPOSITORY), stripe_message(sought.stripe)) == sought


def test_who_names_no_stripe_seeks_all_of_the_content() -> None:
    request = pb.FindRequest(digest=str(DIGEST))
    assert sought_value(request.digest, request.repository, request.stripe).stripe is None


@pytest.mark.parametrize("number", [STRIPES + 1, 2**32 - 1])
def test_a_stripe_that_cannot_be(number: int) -> None:
    with pytest.raises(RequestInvalid, match="there is no stripe"):
        sought_value(str(DIGEST), "", number)
