"""What an index node makes of what it is told of names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registryd.cluster.contract.names import MAX_NAMED_TARGETS, NameAnnouncement
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.names import MEANINGS_OF_HOST, NAME_SECONDS, SETTLED_SECONDS, NameIndexState, NameQuotas
from registryd.cluster.index.naming import name_point, naming_key
from registryd.cluster.index.ring import RendezvousHash
from registryd.content.naming import Naming
from registryd.content.source import NamedContent
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName

NAME = TaggedName.parse("registry.example/app:v1")
OTHER = TaggedName.parse("registry.example/app:v2")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def holder(number: int, port: int = 3173) -> Address:
    return Address(f"10.0.0.{number}", port)


def target(number: int) -> Descriptor:
    return Descriptor(OCI_MANIFEST, Digest.of(str(number).encode()), number)


def naming(number: int, seen_at: float = 1.0, name: TaggedName = NAME) -> Naming:
    return Naming(name, NamedContent(target(number), seen_at))


def says(who: Address, *namings: Naming, dropped: tuple[Naming, ...] = (), is_all: bool = False) -> NameAnnouncement:
    held = {naming_key(each): each for each in namings}
    return NameAnnouncement(who, held, [naming_key(each) for each in dropped], is_all)


def make(quotas: NameQuotas | None = None) -> tuple[NameIndexState, Clock]:
    clock = Clock()
    return NameIndexState(NodeId("desk"), clock, quotas=quotas), clock


def meanings(desk: NameIndexState, name: TaggedName = NAME) -> list[tuple[int, float]]:
    return [(named.target.size, named.seen_at) for named in desk.answer(name).known]


def test_a_name_means_what_it_was_said_to_the_newest_first() -> None:
    desk, _ = make()
    assert desk.announce(says(holder(1), naming(1, 1.0))).by == NodeId("desk")
    desk.announce(says(holder(2), naming(2, 2.0), naming(9, name=OTHER)))
    assert meanings(desk) == [(2, 2.0), (1, 1.0)]
    assert meanings(desk, OTHER) == [(9, 1.0)]


def test_what_many_say_is_one_answer_as_old_as_the_newest() -> None:
    desk, _ = make()
    for number in range(1, 200):
        desk.announce(says(holder(number), naming(1, float(number))))
    assert meanings(desk) == [(1, 199.0)]


def test_answers_are_bounded() -> None:
    desk, _ = make()
    for number in range(100):
        desk.announce(says(holder(number), naming(number, float(number))))
    newest = [(number, float(number)) for number in range(99, 99 - MAX_NAMED_TARGETS, -1)]
    assert meanings(desk) == newest


def test_one_host_does_not_fill_an_answer_however_new_it_says_it_is() -> None:
    desk, _ = make()
    desk.announce(says(holder(1), naming(1)))
    for port in range(1, 50):
        desk.announce(says(holder(2, port), naming(100 + port, 100.0 + port)))
    assert meanings(desk) == [*((100 + port, 100.0 + port) for port in range(49, 49 - MEANINGS_OF_HOST, -1)), (1, 1.0)]


def test_what_moved_is_dropped_and_the_rest_stays() -> None:
    desk, _ = make()
    desk.announce(says(holder(1), naming(1)))
    desk.announce(says(holder(2), naming(1)))
    desk.announce(says(holder(1), naming(2, 2.0)))
    desk.announce(says(holder(1), dropped=(naming(1), naming(77))))
    assert meanings(desk) == [(2, 2.0), (1, 1.0)]
    desk.announce(says(holder(2), dropped=(naming(1),)))
    assert meanings(desk) == [(2, 2.0)]


def test_nobody_changes_what_another_has_said() -> None:
    desk, _ = make()
    desk.announce(says(holder(1), naming(1)))
    key = naming_key(naming(1))
    desk.announce(NameAnnouncement(holder(2), {key: naming(3, 3.0)}))
    desk.announce(NameAnnouncement(holder(1, port=99), {}, [key], is_all=True))
    desk.announce(NameAnnouncement(holder(2), {}, [key], is_all=True))
    assert meanings(desk) == [(1, 1.0)]


def test_who_withdraws_is_forgotten() -> None:
    desk, _ = make()
    desk.announce(says(holder(1), *[naming(number) for number in range(5)]))
    desk.announce(says(holder(1), naming(3), is_all=True))
    assert meanings(desk) == [(3, 1.0)]
    desk.announce(says(holder(1), is_all=True))
    assert meanings(desk) == []
    assert len(desk) == 0


def test_a_host_has_only_its_share_of_the_memory_by_however_many_ports() -> None:
    desk, _ = make(NameQuotas(statements=1000, statements_of_host=10))
    desk.announce(says(holder(2), naming(0)))
    for number in range(1, 101):
        desk.announce(says(holder(1, port=number), naming(number)))
    assert len(desk) == 11
    assert {number for number, _ in meanings(desk)} == {0, *range(91, 101)}


def test_all_hosts_together_have_a_bound_too() -> None:
    desk, _ = make(NameQuotas(statements=50, statements_of_host=10))
    for number in range(1, 200):
        desk.announce(says(holder(number), naming(number)))
    assert len(desk) == 50


def test_what_is_not_said_again_is_forgotten() -> None:
    desk, clock = make()
    desk.announce(says(holder(1), naming(1)))
    desk.announce(says(holder(2), naming(2)))
    clock.now = NAME_SECONDS / 2
    desk.announce(says(holder(2), naming(2)))
    clock.now = NAME_SECONDS - 1
    assert len(meanings(desk)) == 2
    clock.now = NAME_SECONDS
    assert meanings(desk) == [(2, 1.0)]
    assert len(desk) == 1


def test_it_is_settled_when_everyone_has_had_the_time_to_say_everything() -> None:
    desk, clock = make()
    clock.now = SETTLED_SECONDS - 1
    assert not desk.answer(NAME).is_settled
    clock.now = SETTLED_SECONDS
    assert desk.answer(NAME).is_settled


def test_whatever_a_name_means_its_index_nodes_are_the_same() -> None:
    ring = RendezvousHash(holder(number) for number in range(1, 50))
    said = [naming(1), naming(2), naming(1, 2.0), Naming(NAME, NamedContent(Descriptor("a/b", Digest.of(b""), 1), 1.0))]
    keys = {naming_key(each) for each in said}
    assert len(keys) == len(said)
    for key in keys:
        assert ring.index_nodes(key) == ring.index_nodes(name_point(NAME))
    assert naming_key(naming(1)) == naming_key(naming(1))
    assert naming_key(naming(1, name=OTHER)) not in keys


_HOSTS = st.integers(1, 4)
_NUMBERS = st.sets(st.integers(1, 6), max_size=4)


@given(st.lists(st.tuples(_HOSTS, _NUMBERS, _NUMBERS, st.booleans()), max_size=30))
def test_each_holder_is_known_to_say_what_it_said_last(history: list[tuple[int, set[int], set[int], bool]]) -> None:
    desk, _ = make()
    said: dict[int, set[int]] = {}
    for who, held, dropped, is_all in history:
        announcement = says(
            holder(who), *map(naming, held), dropped=tuple(naming(number) for number in dropped), is_all=is_all
        )
        desk.announce(announcement)
        said[who] = (set() if is_all else said.get(who, set()) - dropped) | held
        assert len(desk) == sum(map(len, said.values()))
        assert {number for number, _ in meanings(desk)} == set().union(*said.values())
