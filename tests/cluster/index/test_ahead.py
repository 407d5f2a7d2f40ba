"""Claims for what containerd has not asked for yet, and for what it cannot wait for: who fetches, and who waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.index.wave import Wave
from tests.cluster.index.joining import DIGEST, MIB, address, require_no_circle

if TYPE_CHECKING:
    from registryd.notation import Address

SIZE = 100 * MIB


def claim(
    wave: Wave, number: int, *, rank: int | None = 0, failed: tuple[int, ...] = (), is_pressed: bool = False
) -> list[int]:
    """The numbers of those from whom the node is to get what its containerd has asked for."""
    return _join(wave, Claim(DIGEST, _place(number), SIZE, _addresses(failed), rank=rank, is_pressed=is_pressed))


def ahead(wave: Wave, number: int, *, rank: int | None = 0) -> list[int]:
    """The same, before its containerd has asked."""
    return _join(wave, Claim(DIGEST, _place(number), SIZE, rank=rank, is_ahead=True))


def _join(wave: Wave, claim: Claim) -> list[int]:
    return [source.port for source in wave.join(claim, 0.0)]


def _place(number: int) -> NodeLocation:
    return NodeLocation(address(number))


def _addresses(numbers: tuple[int, ...]) -> tuple[Address, ...]:
    return tuple(map(address, numbers))


# Who means to fetch it


def test_of_two_that_mean_to_fetch_it_the_one_that_came_first_does() -> None:
    wave = Wave()
    assert ahead(wave, 2, rank=1) == []
    assert ahead(wave, 1, rank=0) == []
    assert ahead(wave, 2, rank=1) == [1]
    assert ahead(wave, 3, rank=2) == [1] or ahead(wave, 3, rank=2) == [2]
    assert ahead(wave, 1, rank=0) == []


def test_whose_containerd_has_asked_waits_for_no_intention_of_one_that_came_later_or_as_early() -> None:
    for rank in (0, 1):
        wave = Wave()
        assert ahead(wave, 2, rank=1) == []
        assert claim(wave, 1, rank=rank) == []
        assert ahead(wave, 2, rank=1) == [1]


def test_whose_containerd_has_asked_waits_for_the_intention_of_one_that_came_before_it() -> None:
    wave = Wave()
    assert ahead(wave, 1, rank=0) == []
    assert claim(wave, 2, rank=1) == [1]
    assert claim(wave, 1, rank=0) == []


def test_of_two_that_came_as_early_the_one_that_meant_to_fetch_it_first_does() -> None:
    wave = Wave()
    assert ahead(wave, 1) == []
    assert ahead(wave, 2) == [1]


def test_a_node_of_an_older_version_waits_for_nobody_who_only_means_to_fetch_it() -> None:
    wave = Wave()
    assert ahead(wave, 2, rank=0) == []
    assert claim(wave, 1, rank=None) == []
    assert ahead(wave, 2, rank=0) == [1]


def test_one_below_one_that_gives_way_goes_with_it() -> None:
    wave = Wave()
    assert ahead(wave, 3, rank=2) == []
    assert ahead(wave, 4, rank=3) == [3]
    assert claim(wave, 1, rank=0) == []
    assert ahead(wave, 3, rank=2) == [1]
    assert ahead(wave, 4, rank=3) == [3]
    assert claim(wave, 1, rank=0) == []


def test_who_has_been_told_to_fetch_it_is_followed_whatever_its_rank() -> None:
    wave = Wave()
    assert claim(wave, 9, rank=8) == []
    assert ahead(wave, 1, rank=0) == [9]
    assert claim(wave, 1, rank=0) == [9]


def test_a_source_that_took_the_lead_can_be_reported() -> None:
    wave = Wave()
    assert ahead(wave, 2, rank=1) == []
    assert claim(wave, 1, rank=0) == []
    assert ahead(wave, 2, rank=1) == [1]
    assert claim(wave, 2, rank=1, failed=(1,)) == []
    assert claim(wave, 3, rank=2) == [2]  # 1 is suspect


def test_one_that_has_changed_its_mind_has_not_failed() -> None:
    wave = Wave()
    assert ahead(wave, 1, rank=0) == []
    assert claim(wave, 2, rank=1) == [1]
    assert claim(wave, 2, rank=1, failed=(1,)) == []
    assert ahead(wave, 1, rank=0) == [2]  # it is not suspect, but too late


def test_who_only_asks_is_told_of_the_first_that_means_to_fetch_it() -> None:
    wave = Wave()
    question = Claim(DIGEST, NodeLocation(address(9)), is_question=True)
    assert ahead(wave, 2, rank=1) == []
    assert wave.look(question, 0.0) == ()
    assert ahead(wave, 1, rank=0) == []
    assert set(wave.look(question, 0.0)) == {address(1), address(2)}  # 2 gets it from 1 now


# Who cannot wait


def test_who_is_pressed_is_sent_to_nobody_and_nobody_to_it() -> None:
    wave = Wave()
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    assert claim(wave, 2, is_pressed=True) == []
    assert claim(wave, 3) == [1]
    assert set(wave.addresses) == {address(1), address(2), address(3)}


def test_who_waits_for_one_that_is_pressed_is_sent_elsewhere_when_it_asks_again() -> None:
    wave = Wave()
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    assert claim(wave, 1, is_pressed=True) == []
    assert claim(wave, 2) == []
    assert claim(wave, 3) == [2]


def test_one_that_was_pressed_is_not_sent_to_those_that_still_wait_for_it() -> None:
    wave = Wave()
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    assert claim(wave, 3) == [2]
    assert claim(wave, 1, is_pressed=True) == []
    assert claim(wave, 1) == []


def test_one_that_dropped_it_is_not_sent_to_those_that_still_wait_for_it() -> None:
    wave = Wave()
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    wave.drop(address(1))
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    wave.drop(address(2))
    assert claim(wave, 3) == [1]


def test_those_that_leave_one_that_was_pressed_can_be_followed_by_it() -> None:
    wave = Wave()
    assert claim(wave, 1) == []
    assert claim(wave, 2) == [1]
    assert claim(wave, 1, is_pressed=True) == []
    assert claim(wave, 2) == []
    assert claim(wave, 1) == [2]


# Whatever happens


NODES = 8


@dataclass
class Model:
    """What the nodes have been told, and which of them have only said that they are going to fetch it."""

    wave: Wave
    follows: dict[int, int | None] = field(default_factory=dict)
    means_to: dict[int, int] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    ranks: dict[int, int] = field(default_factory=dict)
    now: float = 0.0

    def top_of(self, number: int) -> int:
        require_no_circle(self.follows)
        while (source := self.follows.get(number)) is not None:
            number = source
        return number

    def claim(self, number: int, claim: Claim) -> None:
        sources = [source.port for source in self.wave.join(claim, self.now)]
        assert number not in sources
        self.means_to.pop(number, None)
        self.whole.discard(number)
        self.ranks[number] = self.ranks.get(number, 0) if claim.rank is None else claim.rank
        self.follows[number] = sources[0] if sources else None
        if claim.is_pressed:
            assert not sources
            self.ranks.pop(number)
        elif sources:
            self._require_no_mere_intention(self.top_of(sources[0]), number, claim)
        else:
            self._lead(number, claim)
        # Others than the first wait for nobody.
        assert set(sources[1:]) <= self.whole

    def _require_no_mere_intention(self, top: int, number: int, claim: Claim) -> None:
        if top in self.means_to:
            mine, its = self.ranks[number], self.means_to[top]
            assert its <= mine if claim.is_ahead else its < mine

    def _lead(self, number: int, claim: Claim) -> None:
        mine = self.ranks[number]
        for other, its in list(self.means_to.items()):
            if its > mine or (its == mine and not claim.is_ahead):
                # It will be told when it asks again; others that it has been told of are told of this one.
                del self.means_to[other]
        if claim.is_ahead:
            self.means_to[number] = mine

    def leave(self, number: int) -> None:
        self.means_to.pop(number, None)
        self.whole.discard(number)
        self.ranks.pop(number, None)


EVENTS = st.tuples(
    st.integers(1, NODES),
    st.sampled_from(["ahead", "ahead", "asked", "asked", "old", "pressed", "failed", "hold", "begin", "drop", "later"]),
    st.sampled_from([0, 0, 1, 2, 3]),
    st.integers(0, NODES),
)


@pytest.mark.parametrize("size", [1000, 3 * MIB, 100 * MIB])
@pytest.mark.parametrize("crowd", [0, 1000])
@settings(max_examples=150)
@given(events=st.lists(EVENTS, max_size=60))
def test_nobody_waits_for_itself_in_a_circle_or_for_a_mere_intention(
    events: list[tuple[int, str, int, int]], size: int, crowd: int
) -> None:
    model = Model(Wave(crowd=crowd))
    for number, event, rank, other in events:
        happen(model, number, event, rank, other, size)
        require_no_circle(model.follows)
        require_tree(model.wave)


def happen(model: Model, number: int, event: str, rank: int, other: int, size: int) -> None:  # noqa: PLR0913, PLR0917
    here = NodeLocation(address(number))
    match event:
        case "later":
            model.now += 5.0
        case "hold":
            model.wave.hold(here)
            model.leave(number)
            model.follows[number] = None
            model.whole.add(number)
            model.ranks[number] = model.wave._tree.get(address(number)).rank  # type: ignore[union-attr]
        case "begin":
            model.wave.begin(here)
        case "drop":
            model.wave.drop(address(number))
            model.leave(number)
            model.follows[number] = None
        case "failed":
            source = model.follows.get(number)
            if source in model.means_to:
                model.leave(source)
            failed = () if source is None else (address(source),)
            model.claim(number, Claim(DIGEST, here, size, failed, rank=rank))
        case _:
            below = address(other) if other and other != number else None
            model.claim(
                number,
                Claim(
                    DIGEST,
                    here,
                    size,
                    below=below,
                    is_ahead=event == "ahead",
                    is_pressed=event == "pressed",
                    rank=None if event == "old" else rank,
                ),
            )


def require_tree(wave: Wave) -> None:
    """What the wave keeps of itself agrees with itself."""
    tree = wave._tree
    spots = [tree._spots[one] for one in tree.addresses]
    for spot in spots:
        assert spot.children == sum(other.source == spot.place.address for other in spots)
        top = tree.top_of(spot)  # of a circle it would be any
        assert top.source is None or tree.get(top.source) is None
    for one in wave._intending:
        assert tree._spots[one].source is None
        assert not tree._spots[one].is_whole
