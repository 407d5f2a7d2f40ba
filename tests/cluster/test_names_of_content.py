"""Content is asked for and given for names: what peers say to each other, and what an older version gets and gives."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer, Wait
from registryd.cluster.members.offer import offer_of
from registryd.cluster.rpc.codec import find_reply, finding
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.growing import GrowingContent, stripe_of
from registryd.content.naming_rules import NamingRules
from registryd.content.provenance import Provenance
from registryd.content.sought import Sought, Standing
from registryd.content.source import Content, ContentNotFound, NotForName
from registryd.identity.credentials import NoCredentials
from registryd.identity.requester import Requester
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError, RangeInvalid
from registryd.oci.ranges import Span
from registryd.oci.reference import Repository
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.striping import STRIPES, reach
from tests.fakes.images import sample_bytes
from tests.fakes.peers import LOOPBACK
from tests.fakes.sources import MemorySource, StripedSource, stripe_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.cluster.members.member import Member
    from registryd.content.source import OpenContent, RangeOf

DATA = b"a layer " * 1000
DIGEST = Digest.of(DATA)
ABSENT = Digest.of(b"absent")
OWN, SIBLING, OTHER, PUBLIC = map(
    Repository.parse, ("a.example/app", "a.example/other", "b.example/app", "hub.example/library/base")
)
NODE = Node(NodeId("n"), 0)
SOMEBODY = Requester("10.0.0.1")


@pytest.fixture
def store() -> MemorySource:
    store = MemorySource()
    store.add(DIGEST, DATA)
    store.owners[DIGEST] = {OWN}
    return store


def service_over(store: MemorySource, *, growing: Any = None, expected: Any = None, **more: Any) -> ClusterService:
    entitlement = Entitlement(NamingRules(AuthorizationSettings()), lambda repository: repository == PUBLIC)
    entitled = EntitledStore(store, entitlement)
    finder = LocalFinder(entitled, growing=growing, expected=expected)
    return ClusterService(NODE, entitled, finder=finder, **more)


async def ask(service: ClusterService, repository: Repository | None, **more: Any) -> pb.FindReply:
    request = pb.FindRequest(digest=str(DIGEST), repository=str(repository or ""), **more)
    return await service.find(request, SOMEBODY)


# The node that has it


async def test_a_find_says_what_the_content_is_to_the_name(store: MemorySource) -> None:
    service = service_over(store)
    assert (await ask(service, OWN)).standing == pb.REPOSITORY
    assert (await ask(service, SIBLING)).standing == pb.REGISTRY
    store.owners[DIGEST] = {OWN, PUBLIC}
    assert (await ask(service, OTHER)).standing == pb.ANYONES


async def test_what_is_here_for_other_names_is_told_as_that_and_nothing_else(store: MemorySource) -> None:
    refusal = await ask(service_over(store, issue_ticket=lambda *_: "ticket"), OTHER)
    assert refusal.is_not_for_name
    assert not refusal.HasField("content")
    assert not refusal.ticket
    absent = await service_over(store).find(pb.FindRequest(digest=str(ABSENT), repository=str(OTHER)), SOMEBODY)
    assert not absent.is_not_for_name


async def test_an_older_version_gets_what_anyone_may_have(store: MemorySource) -> None:
    service = service_over(store)
    assert not (await ask(service, None)).HasField("content")
    store.owners[DIGEST] = {PUBLIC}
    reply = await ask(service, None)
    assert (reply.content.size, reply.standing) == (len(DATA), pb.ANYONES)


async def test_manifests_are_given_for_their_own_repository_only(store: MemorySource) -> None:
    store.add(DIGEST, DATA, media_type=OCI_MANIFEST)
    service = service_over(store)
    assert (await ask(service, OWN)).HasField("content")
    assert (await ask(service, SIBLING)).is_not_for_name


async def test_bytes_are_read_for_names(store: MemorySource) -> None:
    service, chunks = service_over(store), []

    async def write(data: memoryview) -> None:
        chunks.append(bytes(data))

    for repository in (OTHER, None):
        with pytest.raises(NotForName):
            await service.read(
                pb.ReadRequest(digest=str(DIGEST), length=5, repository=str(repository or "")), SOMEBODY, write
            )
    await service.read(pb.ReadRequest(digest=str(DIGEST), length=len(DATA), repository=str(SIBLING)), SOMEBODY, write)
    assert b"".join(chunks) == DATA
    assert store.left_open == 0


@pytest.mark.parametrize("name", ["app", "a.example/UPPER", "../x/y", "a..b/app", "a.example/" + "x" * 300])
async def test_a_name_that_is_none_is_refused(store: MemorySource, name: str) -> None:
    with pytest.raises(OciError):
        await service_over(store).find(pb.FindRequest(digest=str(DIGEST), repository=name), SOMEBODY)


async def test_a_ticket_is_for_the_name_that_was_asked_for(store: MemorySource) -> None:
    issued: list[Sought] = []

    def issue(sought: Sought, _: Requester) -> str:
        issued.append(sought)
        return "ticket"

    assert (await ask(service_over(store, issue_ticket=issue), SIBLING)).ticket == "ticket"
    assert issued == [Sought(DIGEST, SIBLING)]


# What is on its way


@dataclass
class Coming(MemorySource):
    """Content that arrives as a test says, for whom it says."""

    available: int = 0
    owner: Repository | None = None
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        super().__init__()

    async def find(self, digest: Digest) -> Content:
        if self.owner is None:
            raise ContentNotFound("not arriving")
        return GrowingContent(digest, 10_000_000, None, self.available)

    async def provenance(self, content: Content) -> Provenance:
        return Provenance(frozenset({self.owner} if self.owner else ()))

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        await self.grown.wait()
        return cast("GrowingContent", await self.find(digest))


@dataclass
class Expecting:
    """What containerd is going to fetch."""

    repository: Repository

    def provenance(self, digest: Digest) -> Provenance:
        return Provenance(frozenset({self.repository}))

    async def expects(self, digest: Digest) -> Content | None:
        return GrowingContent(digest, 10_000_000, None, 0)

    async def wait_arrivals(self) -> None:
        await asyncio.Event().wait()


async def test_what_is_expected_is_told_for_the_name_of_its_manifest() -> None:
    service = service_over(MemorySource(), expected=Expecting(OWN))
    assert (await ask(service, SIBLING)).standing == pb.REGISTRY
    assert (await ask(service, OTHER)).is_not_for_name


async def test_who_waits_is_not_given_what_comes_for_another_name_instead() -> None:
    coming = Coming(available=0, owner=OWN)
    service = service_over(coming, growing=coming)
    waiting = asyncio.create_task(ask(service, OWN, wait_milliseconds=5000))
    await asyncio.sleep(0.01)
    coming.owner, coming.available = OTHER, 1000
    coming.grown.set()
    assert (await waiting).is_not_for_name


async def test_who_waits_is_given_what_comes_for_his_name() -> None:
    coming = Coming(available=0, owner=OWN)
    service = service_over(coming, growing=coming)
    waiting = asyncio.create_task(ask(service, SIBLING, wait_milliseconds=5000))
    await asyncio.sleep(0.01)
    coming.available = 1000
    coming.grown.set()
    reply = await waiting
    assert (reply.content.available, reply.standing) == (1000, pb.REGISTRY)


# Stripes: of them as little is given for a name as of the whole

LAYER = sample_bytes(2 * 1024 * 1024)


def stripes_of_layer() -> StripedSource:
    store = StripedSource()
    store.add(DIGEST, LAYER)
    store.owners[DIGEST] = {OWN}
    return store


@pytest.mark.parametrize("number", [1, 3, STRIPES])
async def test_a_find_says_what_a_stripe_is_to_the_name(number: int) -> None:
    service, size = service_over(stripes_of_layer()), reach(number - 1, len(LAYER))
    for repository, standing in ((OWN, pb.REPOSITORY), (SIBLING, pb.REGISTRY)):
        reply = await ask(service, repository, stripe=number)
        assert (reply.content.size, reply.content.available, reply.standing) == (size, size, standing)


async def test_stripes_for_other_names_are_told_as_that_and_nothing_else() -> None:
    service = service_over(stripes_of_layer(), issue_ticket=lambda *_: "ticket")
    for repository in (OTHER, None):
        for number in range(1, STRIPES + 1):
            refusal = await ask(service, repository, stripe=number)
            assert refusal.is_not_for_name
            assert not refusal.HasField("content")
            assert not refusal.ticket


async def test_stripes_of_manifests_are_given_for_their_own_repository_only() -> None:
    store = stripes_of_layer()
    store.add(DIGEST, LAYER, media_type=OCI_MANIFEST)
    service = service_over(store)
    assert (await ask(service, OWN, stripe=1)).HasField("content")
    assert (await ask(service, SIBLING, stripe=1)).is_not_for_name


async def test_stripes_are_read_for_names() -> None:
    store = stripes_of_layer()
    service, chunks = service_over(store), []

    async def write(data: memoryview) -> None:
        chunks.append(bytes(data))

    def request(repository: Repository | None, length: int) -> pb.ReadRequest:
        return pb.ReadRequest(digest=str(DIGEST), offset=3, length=length, repository=str(repository or ""), stripe=8)

    for repository in (OTHER, None):
        with pytest.raises(NotForName):
            await service.read(request(repository, 5), SOMEBODY, write)
    assert not store.opened
    part = stripe_bytes(LAYER, 7)
    await service.read(request(SIBLING, len(part) - 3), SOMEBODY, write)
    assert b"".join(chunks) == part[3:]
    with pytest.raises(RangeInvalid):
        await service.read(request(SIBLING, len(part) - 2), SOMEBODY, write)
    assert store.left_open == 0


async def test_of_a_store_without_stripes_none_is_found(store: MemorySource) -> None:
    assert not (await ask(service_over(store), OWN, stripe=1)).HasField("content")


@pytest.mark.parametrize("number", [STRIPES + 1, 2**32 - 1])
async def test_a_stripe_that_is_none_is_refused(number: int) -> None:
    service = service_over(stripes_of_layer())
    with pytest.raises(OciError, match="there is no stripe"):
        await ask(service, OWN, stripe=number)
    with pytest.raises(OciError, match="there is no stripe"):
        await service.read(pb.ReadRequest(digest=str(DIGEST), length=1, stripe=number), SOMEBODY, never_write)


async def never_write(_: memoryview) -> None:
    raise AssertionError("nothing is to be sent")


@dataclass
class ComingInStripes(Coming):
    """The same, in stripes."""

    async def begun(self, digest: Digest) -> Content:
        return await self.find(digest)

    async def stripe(self, content: Content, stripe: int) -> GrowingContent:
        return stripe_of(content, stripe, min(self.available, reach(stripe, content.size)))

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        if beyond is not None:
            await self.grown.wait()
        return await self.stripe(await self.find(digest), stripe)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        raise AssertionError("nobody reads")


async def test_a_stripe_of_what_is_expected_is_told_for_the_name_of_its_manifest() -> None:
    service = service_over(MemorySource(), expected=Expecting(OWN))
    reply = await ask(service, SIBLING, stripe=2)
    assert reply.standing == pb.REGISTRY
    assert reply.content == pb.Content(size=reach(1, 10_000_000), available=0)
    assert (await ask(service, OTHER, stripe=2)).is_not_for_name


async def test_who_waits_for_a_stripe_is_not_given_what_comes_for_another_name_instead() -> None:
    coming = ComingInStripes(available=0, owner=OWN)
    service = service_over(coming, growing=coming)
    waiting = asyncio.create_task(ask(service, OWN, wait_milliseconds=5000, stripe=1))
    await asyncio.sleep(0.01)
    coming.owner, coming.available = OTHER, 1000
    coming.grown.set()
    assert (await waiting).is_not_for_name


async def test_who_waits_for_a_stripe_is_given_what_comes_for_his_name() -> None:
    coming = ComingInStripes(available=0, owner=OWN)
    service = service_over(coming, growing=coming)
    waiting = asyncio.create_task(ask(service, SIBLING, wait_milliseconds=5000, stripe=4))
    await asyncio.sleep(0.01)
    coming.available = 1000
    coming.grown.set()
    reply = await waiting
    assert (reply.content.available, reply.standing) == (1000, pb.REGISTRY)
    assert reply.content.size == reach(3, 10_000_000)


# The node that asks


def said(standing: Standing | None, *, is_not_for_name: bool = False) -> FindAnswer:
    content = None if is_not_for_name else Content(DIGEST, 10, None, standing=standing)
    return FindAnswer(NODE, content, busy=False, is_not_for_name=is_not_for_name)


@dataclass
class Somebody:
    address: Address = field(default_factory=lambda: Address("10.0.0.1", 3173))


def offered(sought: Sought, answer: FindAnswer) -> bool:
    try:
        offer_of(cast("Member", Somebody()), sought, answer)
    except NotForName:
        return False
    return True


def test_who_does_not_say_whose_it_is_gives_nothing_but_where_anyone_may_have_it() -> None:
    sought = Sought(DIGEST, OWN)
    assert not offered(sought, said(None))
    assert offered(replace(sought, accepts_unsaid=True), said(None))
    for standing in Standing:
        assert offered(sought, said(standing))


def test_what_says_that_a_repository_has_it_must_be_the_repositorys() -> None:
    sought = Sought(DIGEST, OWN, only_own=True)
    assert [each for each in (*Standing, None) if offered(sought, said(each))] == [Standing.REPOSITORY]


def test_not_for_that_name_is_not_the_same_as_not_here() -> None:
    with pytest.raises(NotForName, match=r"a\.example/app"):
        offer_of(cast("Member", Somebody()), Sought(DIGEST, OWN), said(None, is_not_for_name=True))
    with pytest.raises(ContentNotFound) as caught:
        offer_of(cast("Member", Somebody()), Sought(DIGEST, OWN), FindAnswer(NODE, None, busy=False))
    assert not isinstance(caught.value, NotForName)


def test_what_a_newer_version_may_say_is_as_good_as_nothing() -> None:
    reply = find_reply(NODE, Content(DIGEST, 10, None), busy=False)
    assert finding(reply, DIGEST).content == Content(DIGEST, 10, None)
    reply.standing = cast("Any", 99)
    found = finding(reply, DIGEST).content
    assert found is not None
    assert found.standing is None


@asynccontextmanager
async def peer_over(service: ClusterService) -> AsyncIterator[GrpcPeer]:
    async with serve_peers(LOOPBACK, service, credentials=NoCredentials()) as port:
        peer = GrpcPeer(Address(LOOPBACK.host, port), timeout=30, credentials=NoCredentials())
        try:
            yield peer
        finally:
            await peer.aclose()


async def test_names_and_standings_go_over_the_wire(store: MemorySource) -> None:
    async with peer_over(service_over(store)) as peer:
        for repository, standing in ((OWN, Standing.REPOSITORY), (SIBLING, Standing.REGISTRY)):
            found = (await peer.find(Sought(DIGEST, repository))).content
            assert found is not None
            assert found.standing is standing
        assert (await peer.find(Sought(DIGEST, OTHER), Wait(0.1, beyond=0))).is_not_for_name
        async with aclosing(peer.read(Sought(DIGEST, SIBLING), Span(0, 8))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == DATA[:8]
        with pytest.raises(ContentNotFound):
            async with aclosing(peer.read(Sought(DIGEST, OTHER), Span(0, 8))) as chunks:
                assert [chunk async for chunk in chunks] == []
