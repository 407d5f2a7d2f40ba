from __future__ import annotations

from registryd.cluster.index.desk import WAVE_SECONDS, YOUNG_SECONDS, IndexDesk, Quotas
from registryd.cluster.index.values import Announcement, Claim, Place
from registryd.cluster.node import NodeId
from registryd.notation import Address
from registryd.oci.digest import Digest


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def place(number: int) -> Place:
    return Place(Address("10.0.0.1", number))


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


def make(quotas: Quotas | None = None) -> tuple[IndexDesk, Clock]:
    clock = Clock()
    return IndexDesk(NodeId("desk"), clock, quotas=quotas), clock


def test_each_digest_has_a_wave_of_its_own() -> None:
    desk, _ = make()
    assert not desk.claim(Claim(digest(1), place(1))).sources
    assert not desk.claim(Claim(digest(2), place(2))).sources
    assert desk.claim(Claim(digest(1), place(2))).sources == (place(1).address,)


def test_what_is_announced_is_found_and_what_is_dropped_is_not() -> None:
    desk, _ = make()
    assert desk.announce(Announcement(place(1), held=(digest(1), digest(2)))).by == NodeId("desk")
    question = Claim(digest(1), place(2), is_question=True)
    assert desk.claim(question).sources == (place(1).address,)
    desk.announce(Announcement(place(1), dropped=(digest(1), digest(99))))
    assert not desk.claim(question).sources
    assert desk.claim(Claim(digest(2), place(2), is_question=True)).sources


def test_a_question_leaves_nothing_behind() -> None:
    desk, _ = make()
    desk.claim(Claim(digest(1), place(1), is_question=True))
    assert len(desk) == 0


def test_a_node_that_withdraws_is_forgotten() -> None:
    desk, _ = make()
    desk.announce(Announcement(place(1), held=[digest(number) for number in range(10)]))
    desk.claim(Claim(digest(50), place(1)))
    desk.announce(Announcement(place(1), is_all=True))
    assert len(desk) == 0
    assert not desk.claim(Claim(digest(50), place(2))).sources


def test_all_that_a_node_has_replaces_what_it_had() -> None:
    desk, _ = make()
    desk.announce(Announcement(place(1), held=(digest(1), digest(2))))
    desk.announce(Announcement(place(1), held=(digest(2), digest(3)), is_all=True))
    assert len(desk) == 2
    assert not desk.claim(Claim(digest(1), place(2), is_question=True)).sources


def test_a_node_has_only_its_share_of_the_memory() -> None:
    desk, _ = make(Quotas(spots=1000, spots_of_node=10))
    desk.announce(Announcement(place(2), held=(digest(0),)))
    desk.announce(Announcement(place(1), held=[digest(number) for number in range(1, 101)]))
    assert len(desk) == 11
    assert desk.claim(Claim(digest(0), place(3), is_question=True)).sources
    assert desk.claim(Claim(digest(100), place(3), is_question=True)).sources
    assert not desk.claim(Claim(digest(1), place(3), is_question=True)).sources


def test_all_nodes_together_have_a_bound_too() -> None:
    desk, _ = make(Quotas(spots=50, spots_of_node=10))
    for number in range(1, 200):
        desk.claim(Claim(digest(number), place(number)))
    assert len(desk) == 50


def test_what_nobody_confirms_is_forgotten() -> None:
    desk, clock = make()
    desk.announce(Announcement(place(1), held=(digest(1),)))
    clock.now = WAVE_SECONDS - 1
    assert desk.claim(Claim(digest(1), place(2), is_question=True)).sources
    clock.now = WAVE_SECONDS + 1
    desk.claim(Claim(digest(2), place(2)))
    assert not desk.claim(Claim(digest(1), place(3), is_question=True)).sources


def test_a_young_index_node_says_so() -> None:
    desk, clock = make()
    assert desk.claim(Claim(digest(1), place(1))).is_new
    clock.now = YOUNG_SECONDS
    assert not desk.claim(Claim(digest(1), place(1))).is_new
