"""EndpointSlices as values: who counts as a peer, and JSON that makes no sense."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.cluster.members.discovery.kubernetes.answers import (
    Bookmark,
    Deleted,
    Stored,
    explain,
    read_event,
    read_page,
)
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired
from registryd.cluster.members.discovery.kubernetes.slices import PodLocation, choose_peers, read_slice
from registryd.notation import Address
from tests.fakes.endpoint_slices import PORT, PORT_NAME, Pod, slice_document
from tests.fakes.kubernetes import Gone

ONE = Address("10.0.0.1", PORT)
ONE_IPV6 = Address("fd00::1", PORT)


def peers(*documents: dict[str, Any], prefer: Any = 4) -> dict[Address, PodLocation]:
    return choose_peers([read_slice(each, port_name=PORT_NAME) for each in documents], prefer=prefer)


def test_an_endpoint_has_its_node_and_zone() -> None:
    assert peers(slice_document("a", Pod("10.0.0.1", "node-a", "zone-1"))) == {ONE: PodLocation("node-a", "zone-1")}


def test_a_pod_that_is_not_ready_is_a_peer() -> None:
    assert ONE in peers(slice_document("a", Pod("10.0.0.1", ready=False)))


def test_a_pod_that_is_terminating_is_none() -> None:
    assert not peers(slice_document("a", Pod("10.0.0.1", terminating=True)))


def test_conditions_and_topology_may_be_missing() -> None:
    document = slice_document("a", Pod("10.0.0.1"))
    document["endpoints"] = [{"addresses": ["10.0.0.1"]}]
    assert peers(document) == {ONE: PodLocation()}


@pytest.mark.parametrize(("prefer", "chosen"), [(4, ONE), (6, ONE_IPV6)])
def test_of_two_families_the_preferred_one_is_taken(prefer: int, chosen: Address) -> None:
    both = [slice_document("a", Pod("10.0.0.1")), slice_document("b", Pod("fd00::1"), ipv6=True)]
    assert set(peers(*both, prefer=prefer)) == {chosen}


def test_a_pod_with_one_family_only_is_reached_in_that_one() -> None:
    documents = slice_document("a", Pod("10.0.0.1", "node-a")), slice_document("b", Pod("fd00::2", "node-b"), ipv6=True)
    assert set(peers(*documents, prefer=6)) == {ONE, Address("fd00::2", PORT)}


def test_a_pod_in_two_slices_counts_once() -> None:
    assert len(peers(slice_document("a", Pod("10.0.0.1")), slice_document("b", Pod("10.0.0.1")))) == 1


def test_the_port_is_the_one_of_that_name() -> None:
    assert not choose_peers([read_slice(slice_document("a", Pod("10.0.0.1")), port_name="other")], prefer=4)


def test_names_instead_of_addresses_are_no_peers() -> None:
    assert not peers(slice_document("a", Pod("peer.example")) | {"addressType": "FQDN"})


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        "text",
        {},
        {"addresses": []},
        {"addresses": ["peer.example"]},
        {"addresses": [None]},
        {"addresses": ["10.0.0.9"], "zone": "a\nb"},
        {"addresses": ["10.0.0.9"], "nodeName": 7},
        {"addresses": ["10.0.0.9"], "targetRef": "text"},
    ],
)
def test_an_endpoint_that_makes_no_sense_is_left_out(nonsense: object) -> None:
    document = slice_document("a", Pod("10.0.0.1"))
    document["endpoints"].append(nonsense)
    assert set(peers(document)) == {ONE}


@pytest.mark.parametrize("field", ["endpoints", "ports"])
def test_a_slice_may_be_empty(field: str) -> None:
    assert not peers(slice_document("a", Pod("10.0.0.1")) | {field: None})


@pytest.mark.parametrize("port", [0, -1, 65536, "3173", True, 1.5, [3173]])
def test_a_port_that_is_none_spoils_the_slice(port: object) -> None:
    document = slice_document("a", Pod("10.0.0.1")) | {"ports": [{"name": PORT_NAME, "port": port}]}
    with pytest.raises((ValueError, TypeError)):
        read_slice(document, port_name=PORT_NAME)


# Answers of the API server


def event(kind: str, subject: object) -> bytes:
    return json.dumps({"type": kind, "object": subject}).encode()


def subject(name: str = "a", version: object = "7") -> dict[str, Any]:
    document = slice_document(name, Pod("10.0.0.1"))
    document["metadata"]["resourceVersion"] = version
    return document


def test_events_are_read() -> None:
    stored = read_event(event("MODIFIED", subject()), port_name=PORT_NAME)
    assert isinstance(stored, Stored)
    assert (stored.slice.name, stored.version) == ("a", "7")
    assert read_event(event("DELETED", subject()), port_name=PORT_NAME) == Deleted("a", "7")
    bookmark = {"kind": "EndpointSlice", "metadata": {"resourceVersion": "9"}}
    assert read_event(event("BOOKMARK", bookmark), port_name=PORT_NAME) == Bookmark("9")


def test_gone_is_told_from_other_errors() -> None:
    with pytest.raises(VersionExpired):
        read_event(event("ERROR", Gone.status), port_name=PORT_NAME)
    with pytest.raises(ApiFailed, match="etcd is tired"):
        read_event(event("ERROR", {"code": 500, "message": "etcd is tired"}), port_name=PORT_NAME)


NONSENSE = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{}",
    b"\xff\xfe",
    b'{"type": "ADDED"',
    b"[" * 100_000,
    b'{"metadata": {"resourceVersion": ' + b"9" * 10_000 + b"}}",
    event("ADDED", None),
    event("ADDED", {"metadata": None}),
    event("ADDED", subject(version=7)),
    event("ADDED", subject(version="")),
    event("ADDED", subject(version="9" * 1000)),
    event("ADDED", subject(name="x" * 1000)),
    event("ADDED", subject() | {"endpoints": 7}),
    event("EXPLODED", subject()),
    event("ERROR", None),
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_a_failure_of_the_server(text: bytes) -> None:
    with pytest.raises(ApiFailed):
        read_event(text, port_name=PORT_NAME)
    with pytest.raises(ApiFailed):
        read_page(text, port_name=PORT_NAME)
    assert len(explain(text)) <= 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["type", "object", "metadata", "resourceVersion", "items", "name", "endpoints", "addresses", "ports"]
            ),
            inner,
        )
    ),
)


@given(JSON)
def test_whatever_is_sent_no_other_error_comes_out(document: object) -> None:
    text = json.dumps(document).encode()
    for read in (read_event, read_page):
        with suppress(ApiFailed, VersionExpired):
            read(text, port_name=PORT_NAME)
