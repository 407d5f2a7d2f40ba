from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer, Resolution
from registryd.cluster.errors import PeerFailed, PeerSilent, PeerUnreachable
from registryd.cluster.members.discovery.contract import Discovery
from registryd.cluster.members.member import MemberState
from registryd.cluster.members.roster import Members
from registryd.content.source import ContentNotFound
from registryd.notation import Address
from registryd.observability.metrics import PeerState, PeerTrouble
from registryd.oci.digest import Digest
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.peer import Wait
    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName

pytestmark = pytest.mark.looptime

DIGEST = Digest.of(b"")
OWN_ID = NodeId("this-node")
A, B, C = (Address("192.0.2.1", port) for port in (1, 2, 3))


class ScriptedPeer:
    """Well or not, as the test says; `asked` keeps when it was asked and what."""

    def __init__(self, address: Address, *, node_id: str = "") -> None:
        self.node = Node(NodeId(node_id or f"node-{address.port}"), 0)
        self.is_well = True
        self.answers_find = True
        self.is_closed = False
        self.asked: list[tuple[float, str]] = []

    async def hello(self) -> Node:
        await self._answer("hello", well=self.is_well)
        return self.node

    async def tell_slow(self, wanted: Sought) -> None:
        raise NotImplementedError

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        await self._answer("find", well=self.is_well and self.answers_find)
        return FindAnswer(self.node, None, busy=False)

    async def claim(self, claim: Claim) -> ClaimReply:
        raise NotImplementedError

    async def announce(self, announcement: Announcement) -> Receipt:
        raise NotImplementedError

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        raise NotImplementedError

    async def vouch(self, repository: Repository) -> bool:
        raise AssertionError("nobody asks")

    async def keep(self, offer: CopyOffer) -> CopyAnswer:
        raise AssertionError(f"nobody asks for {offer.image}")

    async def doubt(self, digest: Digest) -> None:
        raise NotImplementedError

    async def resolve(self, name: TaggedName) -> Resolution:
        await self._answer("resolve", well=self.is_well)
        return Resolution(self.node, ())

    async def read(self, wanted: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        await self._answer("read", well=self.is_well)
        yield b""

    async def aclose(self) -> None:
        self.is_closed = True

    async def _answer(self, question: str, *, well: bool) -> None:
        self.asked.append((asyncio.get_running_loop().time(), question))
        await asyncio.sleep(0)
        if not well:
            raise PeerSilent("a scripted peer says nothing")


class ScriptedDiscovery(Discovery):
    """Gives the sets that the test puts in."""

    def __init__(self, *addresses: Address) -> None:
        self._sets: asyncio.Queue[frozenset[Address]] = asyncio.Queue()
        self.put(*addresses)

    def put(self, *addresses: Address) -> None:
        self._sets.put_nowait(frozenset(addresses))

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        while True:
            yield await self._sets.get()


class Ground:
    """Members over scripted peers."""

    def __init__(self, *addresses: Address, greet_limit: int) -> None:
        self.discovery = ScriptedDiscovery(*addresses)
        self.peers: dict[Address, ScriptedPeer] = {}
        self.reports: list[Mapping[PeerState, int]] = []
        self.troubles: list[Mapping[PeerTrouble, int]] = []
        self.members = Members(
            OWN_ID,
            self._connect,
            backoff=Backoff(first=1.0, longest=4.0, jitter=0.0),
            greet_limit=greet_limit,
            report=self._note,
        )

    def _note(self, states: Mapping[PeerState, int], troubles: Mapping[PeerTrouble, int]) -> None:
        self.reports.append(states)
        self.troubles.append(troubles)

    def _connect(self, address: Address) -> ScriptedPeer:
        return self.peers.setdefault(address, ScriptedPeer(address))

    def states(self) -> dict[Address, MemberState]:
        return dict(self.members.states())

    async def find(self) -> list[str]:
        """Ask all that may be asked; which failed."""
        failed = []
        for member in self.members.available():
            try:
                await member.find(sought(DIGEST))
            except PeerFailed:
                failed.append(member.address)
        return [str(address) for address in failed]


async def failed_find(member: Member) -> None:
    with pytest.raises(PeerFailed):
        await member.find(sought(DIGEST))


@asynccontextmanager
async def ground(*addresses: Address, greet_limit: int = 0, **peers: ScriptedPeer) -> AsyncIterator[Ground]:
    made = Ground(*addresses, greet_limit=greet_limit)
    async with open_scope() as scope:
        scope.serve(partial(made.members.run, made.discovery), name="members")
        await asyncio.sleep(0.001)
        yield made
    assert all(peer.is_closed for peer in made.peers.values())


async def test_nobody_is_connected_before_the_first_question() -> None:
    async with ground(A, B) as made:
        assert set(made.states().values()) == {MemberState.UNKNOWN}
        await made.find()
        assert set(made.states().values()) == {MemberState.UP}
        assert [question for _, question in made.peers[A].asked] == ["find"]


async def test_a_few_are_greeted_when_they_are_discovered() -> None:
    async with ground(A, B, greet_limit=2) as made:
        assert set(made.states().values()) == {MemberState.UP}
        assert [question for _, question in made.peers[A].asked] == ["hello"]


async def test_who_fails_is_set_aside_at_once_and_probed_in_the_background(looptime: object) -> None:
    async with ground(A, B) as made:
        made.peers[A].is_well = False
        await made.find()
        assert made.states() == {A: MemberState.SET_ASIDE, B: MemberState.UP}
        assert [member.address for member in made.members.available()] == [B]
        await asyncio.sleep(12)
        probes = [round(at) for at, question in made.peers[A].asked if question == "hello"]
        assert probes == [1, 3, 7, 11]
        made.peers[A].is_well = True
        await asyncio.sleep(4)
        assert made.states() == {A: MemberState.UP, B: MemberState.UP}


async def test_who_is_set_aside_is_discovered_all_the_same() -> None:
    async with ground(A, B) as made:
        before = made.members.discovered()
        assert before == {A, B}
        made.peers[A].is_well = False
        await made.find()
        assert made.members.addresses() == {B}
        assert made.members.discovered() is before
        made.discovery.put(A, B)
        await asyncio.sleep(0.001)
        assert made.members.discovered() is before
        made.discovery.put(B)
        await asyncio.sleep(0.001)
        assert made.members.discovered() == {B}


async def test_one_that_shows_a_sign_of_life_is_tried_at_once() -> None:
    async with ground(A, Address("192.0.2.9", 1)) as made:
        made.peers[A].is_well = False
        await made.find()
        await asyncio.sleep(7.5)
        made.peers[A].is_well = True
        made.members.sign_of_life("192.0.2.8")
        await asyncio.sleep(0.1)
        assert made.states()[A] is MemberState.SET_ASIDE
        made.members.sign_of_life(A.host)
        await asyncio.sleep(0.1)
        assert made.states()[A] is MemberState.UP


async def test_after_a_sign_of_life_it_is_tried_as_often_as_one_that_has_just_failed() -> None:
    async with ground(A) as made:
        made.peers[A].is_well = False
        await made.find()
        await asyncio.sleep(7.5)  # probed after 1, 3 and 7 s; the next would be after 11
        made.members.sign_of_life(A.host)
        await asyncio.sleep(0.1)
        made.peers[A].is_well = True
        await asyncio.sleep(2.1)
        assert made.states()[A] is MemberState.UP


async def test_one_that_can_ask_and_not_be_asked_is_tried_once_a_second() -> None:
    async with ground(A) as made:
        made.peers[A].is_well = False
        await made.find()
        await asyncio.sleep(7.5)  # probed after 1, 3 and 7 s; next after 11
        for _ in range(5):
            made.members.sign_of_life(A.host)
            await asyncio.sleep(0.4)
        probes = [round(at, 1) for at, question in made.peers[A].asked if question == "hello"]
        assert probes == [1.0, 3.0, 7.0, 7.5, 8.7]
        await asyncio.sleep(4)
        assert len(made.peers[A].asked) == 1 + 6  # and in the background as before


async def test_a_sign_of_life_of_one_that_is_well_changes_nothing() -> None:
    async with ground(A) as made:
        await made.find()
        made.members.sign_of_life(A.host)
        await asyncio.sleep(1)
        assert [question for _, question in made.peers[A].asked] == ["find"]


async def test_no_request_ever_tries_one_that_is_set_aside() -> None:
    async with ground(A) as made:
        made.peers[A].is_well = False
        for _ in range(5):
            await made.find()
        assert [question for _, question in made.peers[A].asked] == ["find"]


async def test_questions_that_fail_together_count_once() -> None:
    async with ground(A) as made:
        made.peers[A].is_well = False
        await asyncio.gather(*[made.find() for _ in range(5)])
        [member] = made.members._members.values()
        assert member.failures == 1


async def test_saying_hello_is_not_enough_to_be_forgiven() -> None:
    """A peer that answers probes and nothing else is left alone longer and longer."""
    async with ground(A) as made:
        made.peers[A].answers_find = False
        away = []
        for _ in range(3):
            await made.find()
            begun = asyncio.get_running_loop().time()
            while not made.members.available():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            away.append(round(asyncio.get_running_loop().time() - begun))
        assert away == [1, 2, 4]
        made.peers[A].answers_find = True
        await made.find()
        [member] = made.members._members.values()
        assert member.failures == 0


async def test_a_node_recognises_itself_and_does_not_ask_itself() -> None:
    made = Ground(A, B, greet_limit=2)
    made.peers[A] = ScriptedPeer(A, node_id=str(OWN_ID))
    async with open_scope() as scope:
        scope.serve(partial(made.members.run, made.discovery), name="members")
        await asyncio.sleep(0.1)
        assert made.states() == {A: MemberState.SELF, B: MemberState.UP}
        assert [member.address for member in made.members.available()] == [B]
        assert made.reports[-1] == {PeerState.AVAILABLE: 1, PeerState.SET_ASIDE: 0}


async def test_an_answer_of_our_own_is_a_no() -> None:
    made = Ground(A, greet_limit=0)
    made.peers[A] = ScriptedPeer(A, node_id=str(OWN_ID))
    async with open_scope() as scope:
        scope.serve(partial(made.members.run, made.discovery), name="members")
        await asyncio.sleep(0.1)
        [member] = made.members.available()
        with pytest.raises(ContentNotFound, match="this node"):
            await member.find(sought(DIGEST))
        assert made.states() == {A: MemberState.SELF}


async def test_who_is_removed_is_closed_and_not_probed_any_more() -> None:
    async with ground(A, B) as made:
        made.peers[A].is_well = False
        await made.find()
        made.discovery.put(B, C)
        await asyncio.sleep(10)
        assert made.states() == {B: MemberState.UP, C: MemberState.UNKNOWN}
        assert made.peers[A].is_closed
        assert [question for _, question in made.peers[A].asked] == ["find"]


async def test_who_comes_back_starts_anew() -> None:
    async with ground(A) as made:
        made.peers[A].is_well = False
        await made.find()
        made.discovery.put()
        await asyncio.sleep(0.1)
        made.discovery.put(A)
        await asyncio.sleep(0.1)
        assert made.states() == {A: MemberState.UNKNOWN}


async def test_a_failure_after_the_removal_disturbs_nobody() -> None:
    async with ground(A) as made:
        [member] = made.members.available()
        made.discovery.put()
        await asyncio.sleep(0.1)
        made.peers[A].is_well = False
        with suppress(PeerFailed):
            await member.find(sought(DIGEST))
        assert made.states() == {}
        assert made.reports[-1] == {PeerState.AVAILABLE: 0, PeerState.SET_ASIDE: 0}


async def test_the_number_of_peers_is_reported() -> None:
    async with ground(A, B, C) as made:
        made.peers[B].is_well = False
        await made.find()
        assert made.reports[-1] == {PeerState.AVAILABLE: 2, PeerState.SET_ASIDE: 1}


async def test_those_who_answered_before_are_asked_first() -> None:
    async with ground(A, B, C) as made:
        member = next(member for member in made.members.available() if member.address == C)
        await member.find(sought(DIGEST))
        assert all(made.members.available()[0].address == C for _ in range(10))


async def test_discovery_that_fails_is_a_bug_that_shows() -> None:
    class Broken(ScriptedDiscovery):
        async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
            yield await self._sets.get()
            raise KeyError("bug")

    made = Ground(A, greet_limit=0)
    with pytest.raises(ExceptionGroup):
        await made.members.run(Broken(A))
    assert made.peers[A].is_closed


async def test_an_answer_to_anything_is_a_sign_of_life() -> None:
    async with ground(A) as made:
        [member] = made.members.available()
        made.peers[A].is_well = False
        await made.find()
        since, trouble = member.since, member.trouble
        assert trouble is PeerTrouble.NO_ANSWER
        member.answered()
        assert made.states() == {A: MemberState.UP}
        assert member.trouble is None
        assert member.since >= since


async def test_the_time_of_a_state_is_that_of_its_reason() -> None:
    async with ground(A) as made:
        [member] = made.members.available()
        made.peers[A].is_well = False
        await made.find()
        member.since = 0.0
        member.failed(PeerUnreachable("silence", PeerTrouble.NO_ANSWER), asked_at=asyncio.get_running_loop().time())
        assert member.since == 0.0
        member.failed(PeerUnreachable("refused", PeerTrouble.REFUSED), asked_at=asyncio.get_running_loop().time())
        assert member.since > 0.0


async def test_a_failure_elsewhere_counts_unless_there_was_an_answer_meanwhile() -> None:
    async with ground(A) as made:
        [member] = made.members.available()
        now = asyncio.get_running_loop().time()
        await made.find()
        member.failed(PeerUnreachable("refused", PeerTrouble.REFUSED), asked_at=now - 1)
        assert made.states() == {A: MemberState.UP}
        await asyncio.sleep(1)
        member.failed(PeerUnreachable("refused", PeerTrouble.REFUSED), asked_at=now + 0.5)
        assert made.states() == {A: MemberState.SET_ASIDE}
        assert member.trouble is PeerTrouble.REFUSED


async def test_another_reason_is_reported_and_logged_like_the_first(caplog: pytest.LogCaptureFixture) -> None:
    """A process that is killed hangs up, and then its host refuses: metrics and log follow what `/status` says."""
    caplog.set_level(logging.INFO)
    async with ground(A) as made:
        [member] = made.members.available()
        for trouble in (PeerTrouble.HUNG_UP, PeerTrouble.REFUSED, PeerTrouble.REFUSED):
            await asyncio.sleep(0.01)
            member.failed(PeerUnreachable("", trouble), asked_at=asyncio.get_running_loop().time())
            assert made.troubles[-1] == {trouble: 1}
    told = [record.message for record in caplog.records if "is set aside" in record.message]
    assert told == [f"peer {A} is set aside: hung up", f"peer {A} is set aside: refused"]


async def test_a_question_that_fails_just_after_the_answer_to_a_probe_is_followed_by_another_probe() -> None:
    """Both are read from the network at once: the probe has ended, and the loop has not yet told the roster."""

    class Held(ScriptedPeer):
        """Says nothing until `released`; then answers probes, and no find."""

        def __init__(self) -> None:
            super().__init__(A)
            self.answers_find = False
            self.released = asyncio.Event()

        async def hello(self) -> Node:
            await self.released.wait()
            return await super().hello()

        async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
            await self.released.wait()
            return await super().find(wanted, wait)

    made = Ground(A, greet_limit=0)
    peer = made.peers[A] = Held()
    async with open_scope() as scope:
        scope.serve(partial(made.members.run, made.discovery), name="members")
        await asyncio.sleep(0.001)
        [member] = made.members.available()
        member.failed(PeerUnreachable("refused", PeerTrouble.REFUSED), asked_at=asyncio.get_running_loop().time())
        await asyncio.sleep(1.5)  # the probe waits for its answer
        finding = asyncio.create_task(failed_find(member))
        await asyncio.sleep(0.1)
        peer.released.set()
        await asyncio.sleep(0.1)
        await finding
        assert made.states() == {A: MemberState.SET_ASIDE}
        await asyncio.sleep(5)
        assert made.states() == {A: MemberState.UP}


async def test_a_member_of_which_something_does_not_answer_is_looked_at() -> None:
    async with ground(A) as made:
        await made.find()
        [member] = made.members.available()
        made.peers[A].is_well = False
        for _ in range(3):
            member.doubted()
        await asyncio.sleep(0.1)
        assert made.states() == {A: MemberState.SET_ASIDE}
        assert [question for _, question in made.peers[A].asked] == ["find", "hello", "hello"], (
            "silence is believed the second time"
        )
