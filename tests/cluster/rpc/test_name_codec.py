from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.cluster.contract.index import MAX_ANNOUNCED
from registryd.cluster.contract.names import NameAnnouncement
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import NameIndexState
from registryd.cluster.index.naming import naming_key
from registryd.cluster.index.speakers import Speakers
from registryd.cluster.rpc.codec import parse_request
from registryd.cluster.rpc.index_service import IndexService
from registryd.cluster.rpc.limits import MAX_REQUEST_BYTES
from registryd.cluster.rpc.name_codec import MAX_NAMINGS, name_announcement_message, name_announcement_value
from registryd.content.naming import Naming
from registryd.content.source import NamedContent
from registryd.identity.requester import Requester
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import TaggedName
from registryd.pb.registryd.v1 import cluster_pb2 as pb

REQUESTER = Requester("192.0.2.9")
HOLDER = Address(REQUESTER.address, 3173)
NAMING = Naming(
    TaggedName.parse("registry.example/app:v1"), NamedContent(Descriptor(OCI_MANIFEST, Digest.of(b""), 7), 1000.5)
)
KEY = naming_key(NAMING)


def test_an_announcement_survives_the_wire() -> None:
    announcement = NameAnnouncement(HOLDER, {KEY: NAMING}, [Digest.of(b"dropped")], is_all=True)
    assert name_announcement_value(name_announcement_message(announcement), REQUESTER) == announcement


def test_who_says_so_is_the_host_that_asks_whatever_it_says() -> None:
    message = name_announcement_message(NameAnnouncement(Address("10.0.0.1", 5), {KEY: NAMING}))
    assert name_announcement_value(message, REQUESTER).holder == Address("192.0.2.9", 5)


def test_nobody_has_seen_the_future() -> None:
    later = Naming(NAMING.name, NamedContent(NAMING.meaning.target, time.time() + 1e6))
    message = name_announcement_message(NameAnnouncement(HOLDER, {KEY: later}))
    assert name_announcement_value(message, REQUESTER).held[KEY].meaning.seen_at <= time.time()


def test_as_many_of_the_longest_as_may_be_fit_into_a_message() -> None:
    name = TaggedName.parse("registry.example/" + "a" * 238 + ":" + "t" * 128)
    longest = Descriptor("a" * 127 + "/" + "b" * 127, Digest.of(b"", algorithm="sha512"), 2**63 - 1)
    held = {Digest.of(bytes([number])): Naming(name, NamedContent(longest, 1.0)) for number in range(MAX_NAMINGS)}
    assert name_announcement_message(NameAnnouncement(HOLDER, held)).ByteSize() < MAX_REQUEST_BYTES
    dropped = [KEY] * MAX_ANNOUNCED
    assert name_announcement_message(NameAnnouncement(HOLDER, {}, dropped)).ByteSize() < MAX_REQUEST_BYTES


def naming_message(**change: object) -> pb.Naming:
    message = pb.Naming.FromString(
        name_announcement_message(NameAnnouncement(HOLDER, {KEY: NAMING})).held[0].SerializeToString()
    )
    message.MergeFrom(pb.Naming(**change))  # type: ignore[arg-type]
    return message


@pytest.mark.parametrize(
    "message",
    [
        pb.AnnounceNamesRequest(port=70_000),
        pb.AnnounceNamesRequest(port=1, held=[naming_message()] * (MAX_NAMINGS + 1)),
        pb.AnnounceNamesRequest(port=1, dropped=[b"x" * 32] * (MAX_ANNOUNCED + 1)),
        pb.AnnounceNamesRequest(port=1, dropped=[b"short"]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(key=b"x" * 33)]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(name="alpine")]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(name="docker.io/UPPER:v1")]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(meaning=pb.NamedContent(digest="sha256:12"))]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(meaning=pb.NamedContent(media_type="none"))]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(meaning=pb.NamedContent(size=2**63))]),
        pb.AnnounceNamesRequest(port=1, held=[naming_message(meaning=pb.NamedContent(seen_at=float("nan")))]),
    ],
)
def test_announcements_that_are_not_valid_are_refused(message: pb.AnnounceNamesRequest) -> None:
    with pytest.raises(OciError):
        name_announcement_value(message, REQUESTER)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            pb.AnnounceNamesRequest,
            port=st.integers(0, 2**32 - 1),
            held=st.lists(
                st.builds(
                    pb.Naming,
                    name=st.one_of(st.text(max_size=40), st.just("registry.example/app:v1")),
                    meaning=st.builds(
                        pb.NamedContent,
                        digest=st.one_of(st.text(max_size=80), st.just(str(KEY))),
                        size=st.integers(0, 2**64 - 1),
                        media_type=st.one_of(st.text(max_size=40), st.just(OCI_MANIFEST)),
                        seen_at=st.floats(),
                    ),
                    key=st.binary(min_size=30, max_size=34),
                ),
                max_size=3,
            ),
            dropped=st.lists(st.binary(min_size=31, max_size=33), max_size=3),
            is_all=st.booleans(),
        ).map(lambda message: message.SerializeToString()),
    )
)
async def test_hostile_bytes_are_refused_or_say_something_of_their_own_host_only(raw: bytes) -> None:
    names = NameIndexState(NodeId("desk"), lambda: 0.0)
    names.announce(NameAnnouncement(Address("10.0.0.1", 3173), {KEY: NAMING}))
    service = IndexService(IndexState(NodeId("desk"), lambda: 0.0), names, Speakers(frozenset, lambda: 0.0))
    with suppress(OciError):
        await service.announce_names(parse_request(pb.AnnounceNamesRequest, raw), REQUESTER)
    known = names.answer(NAMING.name).known
    assert NAMING.meaning.target in {named.target for named in known}
    assert all(named.seen_at <= time.time() for named in known)
