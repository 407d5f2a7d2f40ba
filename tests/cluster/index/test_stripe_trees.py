"""Which node gets which stripe from which node."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.index.stripes import CHILDREN, StripeTrees
from registryd.notation import Address
from registryd.transfer.monitoring.thresholds import REPORTED_SECONDS, STRIPE_REPORT_SECONDS, STRIPE_REPORTS
from registryd.transfer.striping import STRIPES


def address(number: int) -> Address:
    return Address(f"10.0.{number >> 8}.{number & 255}", 3173)


TOP = NodeLocation(address(1))


def place(number: int, zone: str = "") -> NodeLocation:
    return NodeLocation(address(number), zone)


def trees_of(count: int, *, slow: int = 0, zones: int = 1) -> StripeTrees:
    """The nodes 2, 3, ..., below the node 1; so many are slow."""
    trees = StripeTrees()
    trees.lead(TOP)
    trees.join([(place(n, f"zone{n % zones}" if zones > 1 else ""), n < slow + 2) for n in range(2, count + 2)])
    return trees


def sources(trees: StripeTrees, of: Address) -> list[Address | None]:
    return [source.place.address if source else None for source in trees._spots[of].sources]


def is_slow(trees: StripeTrees, of: Address) -> bool:
    return of in trees.addresses and trees._spots[of].is_slow


def children_of(trees: StripeTrees, source: Address) -> list[Address]:
    """All nodes that get some stripe from that one."""
    return [of for of in trees.addresses if source in sources(trees, of)]


def children(trees: StripeTrees) -> Counter[tuple[Address, int]]:
    """How many nodes that are not slow each node gives each stripe to."""
    pairs = [
        (source.place.address, stripe)
        for spot in trees._spots.values()
        if not spot.is_slow
        for stripe, source in enumerate(spot.sources)
        if source is not None and trees._spots.get(source.place.address) is source
    ]
    return Counter(pairs)


def require_order(trees: StripeTrees) -> None:
    """No stripe goes in a circle, what is kept of each node is right, and nothing is kept of any other."""
    for spot in trees._spots.values():
        for stripe in range(STRIPES):
            above = spot.sources[stripe]
            seen = {spot.place.address}
            while above is not None and (at := trees._spots.get(above.place.address)) is not None:
                assert at.place.address not in seen, f"stripe {stripe} goes in a circle"
                seen.add(at.place.address)
                above = at.sources[stripe]
    given = children(trees)
    for of, spot in trees._spots.items():
        counts = [given[of, stripe] for stripe in range(STRIPES)]
        if spot.own is not None:
            assert spot.free[spot.own] == CHILDREN - sum(counts), "its room is counted wrong"
        elif trees.is_top(of):
            assert spot.free == [1 - count for count in counts], "a top's room is counted wrong"
        else:
            assert not any(counts), "a slow node is a source"
        has_room = any(free > 0 for free in spot.free) and not spot.is_slow and (spot.is_inner or trees.is_top(of))
        is_open = any(of in queue for queue in trees._room._open.values())
        assert is_open or not has_room, "a node with room is forgotten"
    assert {of for queue in trees._room._open.values() for of in queue} <= trees._spots.keys()
    inner = [of for nodes in trees._room._inner.values() for of in nodes]
    assert sorted(inner, key=str) == sorted((of for of, spot in trees._spots.items() if spot.is_inner), key=str)


def depth(trees: StripeTrees, of: Address, stripe: int) -> int:
    source = trees._spots[of].sources[stripe]
    return 0 if source is None else 1 + depth(trees, source.place.address, stripe)


def test_nodes_that_come_at_once_pass_on_one_stripe_each_and_are_few_levels_deep() -> None:
    trees = trees_of(600)
    require_order(trees)
    given = children(trees)
    for spot in trees._spots.values():
        stripes = {stripe for stripe in range(STRIPES) if given[spot.place.address, stripe]}
        most = STRIPES if trees.is_top(spot.place.address) else 2
        assert len(stripes) <= most
    totals = Counter[Address]()
    for (of, _), count in given.items():
        totals[of] += count
    assert max(totals.values()) <= CHILDREN + 1
    assert max(depth(trees, of, stripe) for of in trees.addresses for stripe in range(STRIPES)) <= 6
    assert all(None not in sources(trees, of) for of in trees.addresses if of != TOP.address)


def test_slow_nodes_get_it_and_give_it_to_nobody() -> None:
    trees = trees_of(100, slow=30)
    require_order(trees)
    slow = {address(number) for number in range(2, 32)}
    for of in trees.addresses:
        assert not slow & set(sources(trees, of))
        assert of == TOP.address or None not in sources(trees, of)


def test_each_stripe_comes_once_to_each_zone() -> None:
    trees = trees_of(90, zones=3)
    zone_of = {of: spot.place.zone for of, spot in trees._spots.items()}
    crossings = Counter(
        (zone_of[of], stripe)
        for of in trees.addresses
        for stripe, source in enumerate(sources(trees, of))
        if source is not None and zone_of[source] != zone_of[of]
    )
    assert max(crossings.values()) <= 1


def test_what_was_named_is_named_again_as_long_as_nothing_is_said_of_it() -> None:
    trees = trees_of(30)
    before = sources(trees, address(20))
    for stripe in range(STRIPES):
        assert trees.change(address(20), stripe, failed=(), slow=(), now=0.0) == before[stripe]
    assert sources(trees, address(20)) == before
    assert trees.join([(place(20), False)])[address(20)] == tuple(before)
    require_order(trees)


def test_a_source_that_failed_is_named_to_nobody_for_a_while() -> None:
    trees = trees_of(30)
    failed = next(of for of in sources(trees, address(20)) if of and not trees.is_top(of))
    stripe = sources(trees, address(20)).index(failed)
    other = trees.change(address(20), stripe, failed=(failed,), slow=(), now=0.0)
    assert other not in {failed, None}
    assert failed not in trees.join([(place(number), False) for number in range(50, 90)])[address(50)]
    trees.change(address(20), stripe, failed=(), slow=(), now=REPORTED_SECONDS + 1.0)
    require_order(trees)


def below_top(trees: StripeTrees) -> list[tuple[Address, int]]:
    """The nodes right below the top, each with the first of the stripes that it gets from there."""
    found = [(of, sources(trees, of)) for of in trees.addresses]
    return [(of, of_stripes.index(TOP.address)) for of, of_stripes in found if TOP.address in of_stripes]


def test_when_two_say_that_the_only_top_has_failed_one_takes_its_place_and_gives_every_stripe_anew() -> None:
    trees = trees_of(30)
    (first, its_stripe), (second, stripe), (third, third_stripe), *_ = below_top(trees)
    assert trees.change(first, its_stripe, failed=(TOP.address,), slow=(), now=0.0) == TOP.address
    assert trees.change(second, stripe, failed=(TOP.address,), slow=(), now=0.1) is None
    assert trees.top == second
    assert sources(trees, second) == [None] * STRIPES
    require_order(trees)
    for of, its_own in ((first, its_stripe), (third, third_stripe)):
        assert trees.change(of, its_own, failed=(TOP.address,), slow=(), now=0.2) not in {None, TOP.address}
    require_order(trees)


def test_a_top_that_failed_once_for_one_node_is_tried_again_and_gives_way_when_another_says_the_same() -> None:
    trees = trees_of(30)
    below = [of for of in trees.addresses if TOP.address in sources(trees, of)][:3]
    stripes = [sources(trees, of).index(TOP.address) for of in below]
    assert trees.change(below[0], stripes[0], failed=(TOP.address,), slow=(), now=0.0) == TOP.address
    later = REPORTED_SECONDS + 1.0  # the first report is too old to count beside the second
    assert trees.change(below[1], stripes[1], failed=(TOP.address,), slow=(), now=later) == TOP.address
    stranger = next(of for of in trees.addresses if TOP.address not in sources(trees, of))
    assert trees.change(stranger, 0, failed=(TOP.address,), slow=(), now=later) != TOP.address
    assert trees.top == TOP.address
    assert trees.change(below[2], stripes[2], failed=(TOP.address,), slow=(), now=later + 0.1) is None
    assert trees.top == below[2]
    require_order(trees)


@pytest.mark.parametrize("slow", [(), (TOP.address,)], ids=["broke off", "slow or gone"])
def test_one_node_that_reports_a_top_again_and_again_does_not_change_it(slow: tuple[Address, ...]) -> None:
    """It may be at fault itself, or lie: it gets the stripe from there for three seconds, and then from another."""
    trees = trees_of(30)
    (bad, stripe), *_ = below_top(trees)
    for now in (0.0, 0.1, 2.9):
        assert trees.change(bad, stripe, failed=(TOP.address,), slow=slow, now=now) == TOP.address
    for now in range(6, 100):
        for number in range(STRIPES):
            assert trees.change(bad, number, failed=(TOP.address,), slow=slow, now=now / 2) != TOP.address
    assert trees.top == TOP.address
    assert all(TOP.address in sources(trees, of) for of, _ in below_top(trees))
    require_order(trees)


def test_one_host_at_many_ports_does_not_change_a_top() -> None:
    trees = StripeTrees()
    trees.lead(TOP)
    ports = [NodeLocation(Address("10.1.0.1", port)) for port in range(1, 5)]
    trees.join([(one, False) for one in (*ports, *map(place, range(2, 6)))])
    for one in ports:
        for stripe in range(STRIPES):
            for now in range(3):
                trees.change(one.address, stripe, failed=(TOP.address,), slow=(TOP.address,), now=float(now))
    assert trees.top == TOP.address
    require_order(trees)


def test_the_only_one_that_a_top_gives_something_to_takes_its_place_at_once() -> None:
    trees = trees_of(1)
    assert trees.change(address(2), 0, failed=(TOP.address,), slow=(), now=0.0) is None
    assert trees.top == address(2)
    trees = trees_of(30)
    (last, stripe), *others = below_top(trees)
    for of, _ in others:
        trees.release(of)  # they have all of it
    assert trees.change(last, stripe, failed=(TOP.address,), slow=(), now=0.0) is None
    assert trees.top == last


def test_the_only_host_that_a_top_gives_something_to_takes_its_place_at_once() -> None:
    trees = StripeTrees()
    trees.lead(TOP)
    ports = [NodeLocation(Address("10.1.0.1", port)) for port in range(1, 5)]
    trees.join([(one, False) for one in ports])
    of, stripe = below_top(trees)[0]
    assert trees.change(of, stripe, failed=(TOP.address,), slow=(), now=0.0) is None
    assert trees.top == of


def test_a_node_that_has_become_the_top_has_not_failed_those_that_it_gave_to_before() -> None:
    """It breaks off what it gave them."""
    trees = trees_of(60)
    new = inner_of(trees)
    children = [(of, stripe_from(trees, of, new)) for of in children_of(trees, new)]
    trees.drop(TOP.address)
    trees.lead(trees._spots[new].place)
    found = [trees.change(of, stripe, failed=(new,), slow=(), now=0.0) for of, stripe in children]
    assert trees.top == new
    assert None not in found
    assert new in found, "one of them has to get it from there again"
    require_order(trees)


def test_of_several_tops_one_that_a_single_node_reports_is_left_by_that_one_only() -> None:
    trees = StripeTrees()
    others = [place(100), place(101)]
    for top in (*others, TOP):
        trees.lead(top)
    trees.join([(place(number), False) for number in range(2, 40)])
    (bad, stripe), (second, other_stripe), *_ = below_top(trees)
    assert trees.change(bad, stripe, failed=(TOP.address,), slow=(), now=0.0) == TOP.address
    found = trees.change(bad, stripe, failed=(TOP.address,), slow=(), now=3.0)
    assert found not in {TOP.address, None}
    assert trees.is_top(TOP.address)
    require_order(trees)
    trees.change(second, other_stripe, failed=(TOP.address,), slow=(), now=4.0)
    assert not trees.is_top(TOP.address)
    assert trees.top == place(101).address
    require_order(trees)


def test_a_slow_node_that_takes_the_place_of_the_top_gives_it_to_the_others() -> None:
    trees = StripeTrees()
    trees.lead(TOP)
    trees.join([(place(2), True), (place(3), True)])
    assert trees.change(address(3), 0, failed=(TOP.address,), slow=(), now=0.0) == TOP.address
    assert trees.change(address(2), 0, failed=(TOP.address,), slow=(), now=0.0) is None
    assert trees.change(address(3), 0, failed=(TOP.address,), slow=(), now=0.1) == address(2)
    require_order(trees)


def inner_of(trees: StripeTrees) -> Address:
    """A node that gives a stripe to as many as it can."""
    return next(of for of in trees.addresses if not trees.is_top(of) and len(children_of(trees, of)) == STRIPES)


def stripe_from(trees: StripeTrees, of: Address, source: Address) -> int:
    return sources(trees, of).index(source)


def test_a_node_is_slow_when_half_of_those_below_it_say_so() -> None:
    trees = trees_of(60)
    bad = inner_of(trees)
    below = children_of(trees, bad)
    for count, of in enumerate(below[: STRIPES // 2], 1):
        assert not is_slow(trees, bad)
        found = trees.change(of, stripe_from(trees, of, bad), failed=(), slow=(bad,), now=count / 10)
        assert (found == bad) == (count < STRIPES // 2)
    assert is_slow(trees, bad)
    for of in below:
        if bad in sources(trees, of):
            assert trees.change(of, stripe_from(trees, of, bad), failed=(), slow=(), now=1.0) != bad
    require_order(trees)


def test_reports_that_are_far_apart_are_not_counted_together() -> None:
    trees = trees_of(60)
    bad = inner_of(trees)
    for count, of in enumerate(children_of(trees, bad)):
        now = count * (STRIPE_REPORT_SECONDS + 1)
        assert trees.change(of, stripe_from(trees, of, bad), failed=(), slow=(bad,), now=now) == bad
    assert not is_slow(trees, bad)
    assert len(trees._spots[bad].reports) == 1


def test_a_node_that_is_slow_to_one_for_long_is_left_by_that_one_and_goes_on_giving_to_the_others() -> None:
    trees = trees_of(60)
    bad = inner_of(trees)
    of, *others = children_of(trees, bad)
    stripe = stripe_from(trees, of, bad)
    found = [trees.change(of, stripe, failed=(), slow=(bad,), now=float(now)) for now in range(STRIPE_REPORTS)]
    assert found[:-1] == [bad] * (STRIPE_REPORTS - 1)
    assert found[-1] not in {bad, None}
    assert not is_slow(trees, bad)
    assert children_of(trees, bad) == others
    require_order(trees)


def test_a_report_of_a_source_that_it_has_left_changes_nothing() -> None:
    trees = trees_of(60)
    bad = inner_of(trees)
    of = children_of(trees, bad)[0]
    stripe = stripe_from(trees, of, bad)
    other = trees.change(of, stripe, failed=(bad,), slow=(), now=0.0)
    assert other != bad
    assert trees.change(of, stripe, failed=(), slow=(bad,), now=0.1) == other
    require_order(trees)


def test_a_member_that_reports_whom_it_was_not_named_makes_nobody_suspect() -> None:
    trees = trees_of(60)
    bad = address(50)
    others = tuple(of for of in trees.addresses if of not in {bad, *sources(trees, bad)})
    before = {of: sources(trees, of) for of in trees.addresses if of != bad}
    for stripe in range(STRIPES):
        trees.change(bad, stripe, failed=others, slow=others, now=0.0)
    assert {of: sources(trees, of) for of in before} == before
    assert not [spot for spot in trees._spots.values() if spot.is_slow or spot.suspected_until]
    assert trees.top == TOP.address


def test_a_member_that_changes_again_and_again_costs_no_memory() -> None:
    trees = trees_of(200)
    before = sum(map(len, trees._room._open.values()))
    chance = Random(1)
    everyone = list(trees.addresses)
    for _ in range(5000):
        failed = (chance.choice(everyone),)
        trees.change(address(150), chance.randrange(STRIPES), failed=failed, slow=(), now=0.0)
    assert sum(map(len, trees._room._open.values())) < before + 200
    assert len(trees._spots[address(150)].named) <= 4 * STRIPES
    require_order(trees)


def test_nodes_that_come_and_go_leave_nothing() -> None:
    trees = trees_of(20)
    for number in range(1000, 3000, 10):
        trees.join([(place(number + offset), False) for offset in range(10)])
        for offset in range(10):
            trees.drop(address(number + offset))
    require_order(trees)
    assert sum(map(len, trees._room._inner.values())) == 20


def test_nothing_is_kept_of_nodes_that_all_have_gone() -> None:
    trees = trees_of(15)
    for of in list(trees.addresses):
        trees.drop(of)
    assert not len(trees._given)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["join", "join", "change", "fail", "slow", "slow to all", "lie", "spread", "drop", "lead", "release"]
        ),
        st.integers(1, 24),
        st.integers(0, STRIPES - 1),
        st.integers(0, 1000),
    ),
    max_size=60,
)


# Nodes that were dropped and came again while others followed them, once and twice.
@example(19, 1, [("slow", 10, 2, 318), ("fail", 19, 2, 439), ("fail", 5, 1, 903), ("join", 1, 5, 179)])
@example(15, 2, [("drop", 15, 0, 0), ("join", 13, 0, 3)] * 2)
@given(st.integers(0, 20), st.integers(1, 2), ACTIONS)
def test_whatever_happens_no_stripe_goes_in_a_circle_and_room_is_counted_right(  # noqa: C901, PLR0912 - each action
    count: int, zones: int, actions: list[tuple[str, int, int, int]]
) -> None:
    trees = trees_of(count, slow=count // 8, zones=zones)
    for now, (action, number, stripe, chance) in enumerate(actions):
        of = address(number)
        spot = trees._spots.get(of)
        source = sources(trees, of)[stripe] if spot else None
        refused = set[Address]()
        found = None
        is_change = True
        match action:
            case "join":
                is_change = False
                slow = chance % 5 == 0
                trees.join([(place(number + extra, f"zone{chance % zones}"), slow) for extra in range(chance % 4)])
            case "change":
                found = trees.change(of, stripe, failed=(), slow=(), now=now / 4)
            case "fail" if source:
                refused = set() if trees.is_top(source) else {source}
                found = trees.change(of, stripe, failed=(source,), slow=(), now=now / 4)
            case "slow" if source:
                found = trees.change(of, stripe, failed=(), slow=(source,), now=now / 4)
                refused = {source} if is_slow(trees, source) else set()
            case "slow to all" if source:
                for other in children_of(trees, source):
                    trees.change(other, stripe, failed=(), slow=(source,), now=now / 4)
                found = trees.change(of, stripe, failed=(), slow=(source,), now=now / 4)
                refused = {source} if is_slow(trees, source) else set()
            case "lie":
                liar = address(chance % 24 + 1)
                found = trees.change(of, stripe, failed=(), slow=(liar,), now=now / 4)
                refused = {liar} if is_slow(trees, liar) else set()
            case "spread":
                found = trees.spread(of, stripe, places=chance % 4 + 1, now=now / 4)
            case "drop":
                trees.drop(of)
            case "lead":
                trees.lead(place(number))
            case "release":
                trees.release(of)
        if is_change:
            assert found not in refused
        require_order(trees)


def below(trees: StripeTrees, source: Address, stripe: int) -> list[Address]:
    """All nodes that get this stripe by way of that one."""
    found: list[Address] = []
    for of in [of for of in trees.addresses if sources(trees, of)[stripe] == source]:
        found += [of, *below(trees, of, stripe)]
    return found


def furthest_below(trees: StripeTrees, stripe: int) -> tuple[Address, Address]:
    """The node that this stripe comes to by way of most others, and its source."""
    of = max(trees.addresses, key=lambda of: depth(trees, of, stripe))
    source = sources(trees, of)[stripe]
    assert source is not None
    return of, source


def ask_late(trees: StripeTrees, of: Address, stripe: int, now: float) -> Address | None:
    source = sources(trees, of)[stripe]
    assert source is not None
    return trees.change_late(of, stripe, late=(source,), now=now)


def test_of_all_that_wait_those_right_below_the_node_at_fault_get_another_source_first() -> None:
    trees = trees_of(600)
    stripe = 3
    culprit = next(of for of in trees.addresses if sources(trees, of)[stripe] == TOP.address)
    children = [of for of in trees.addresses if sources(trees, of)[stripe] == culprit]
    waiting = below(trees, culprit, stripe)
    assert len(waiting) > 4 * len(children) > 16
    for number in range(STRIPES):  # all of them ask, those that are furthest below first
        for of in reversed(waiting):
            before = sources(trees, of)[stripe]
            found = ask_late(trees, of, stripe, now=number / STRIPES)
            assert of in children or found == before
            assert found != culprit or number == 0
    assert not set(children) & set(below(trees, culprit, stripe))
    assert is_slow(trees, culprit)
    assert [of for of in trees.addresses if is_slow(trees, of)] == [culprit]
    require_order(trees)


def test_a_node_that_is_further_below_gets_another_source_by_another_way_a_second_later_for_each_level() -> None:
    trees = trees_of(600)
    stripe = 3
    of, source = furthest_below(trees, stripe)
    levels = depth(trees, source, stripe) - 1
    assert levels >= 2
    for tenth in range(levels * 10):
        assert ask_late(trees, of, stripe, now=50 + tenth / 10) == source
    found = ask_late(trees, of, stripe, now=50.0 + levels)
    assert found not in {None, source, *below(trees, source, stripe)}
    assert sources(trees, of)[stripe] == found
    require_order(trees)


def test_a_node_that_waited_long_ago_or_for_another_waits_anew() -> None:
    trees = trees_of(600)
    stripe = 3
    of, source = furthest_below(trees, stripe)
    assert ask_late(trees, of, stripe, now=0.0) == source
    assert ask_late(trees, of, stripe, now=STRIPE_REPORT_SECONDS + 1) == source
    assert trees.change_late(of, stripe, late=(address(77),), now=STRIPE_REPORT_SECONDS + 9) == source
    assert trees.change_late(address(5000), stripe, late=(source,), now=0.0) is None
    assert trees.change_late(TOP.address, stripe, late=(source,), now=0.0) is None


def test_the_top_is_not_changed_for_one_that_waits_for_it() -> None:
    trees = trees_of(100)
    of, stripe = next((of, n) for of in trees.addresses for n in range(STRIPES) if sources(trees, of)[n] == TOP.address)
    assert ask_late(trees, of, stripe, now=0.0) == ask_late(trees, of, stripe, now=9.0) == TOP.address


def test_a_source_that_does_not_give_it_for_the_name_is_replaced_and_stays_what_it_is() -> None:
    trees = trees_of(100)
    of, stripe = address(50), 3
    source = sources(trees, of)[stripe]
    assert source not in {None, TOP.address}
    assert source is not None
    found = trees.change(of, stripe, failed=(), slow=(), unfit=(source,), now=0.0)
    assert found not in {None, source, of}
    assert trees._spots[source].suspected_until == 0.0
    assert trees.change(of, stripe, failed=(), slow=(), unfit=(source,), now=0.0) == found
    assert trees.change(of, stripe, failed=(), slow=(), unfit=tuple(trees.addresses), now=0.0) is None
    assert trees.top == TOP.address
    require_order(trees)


def test_one_host_at_many_ports_makes_no_good_node_slow() -> None:
    trees = trees_of(100)
    ports = [NodeLocation(Address("10.1.0.1", port)) for port in range(1, 65)]
    trees.join([(one, False) for one in ports])
    for now in range(20):
        for one in ports:
            for stripe in range(STRIPES):
                source = sources(trees, one.address)[stripe]
                assert source is not None
                trees.change(one.address, stripe, failed=(), slow=(source,), now=float(now))
                ask_late(trees, one.address, stripe, now=float(now))
    assert not [of for of in trees.addresses if is_slow(trees, of)]
    require_order(trees)


def test_a_node_that_waits_for_one_that_has_become_the_top_gets_the_stripe_from_another() -> None:
    trees = trees_of(100)
    own = trees._spots[address(50)].own
    assert own is not None
    children = [of for of in trees.addresses if sources(trees, of)[own] == address(50)]
    trees.lead(place(50))
    found = [trees.change_late(of, own, late=(address(50),), now=0.0) for of in children]
    assert None not in found
    assert found == [sources(trees, of)[own] for of in children]
    require_order(trees)


def test_where_most_nodes_have_failed_the_others_do_not_crowd_at_the_top() -> None:
    """They get it as a whole: a tree of which each node sends to some others."""
    trees = trees_of(400)
    found = []
    for of in list(trees.addresses):
        for stripe in range(STRIPES):
            source = sources(trees, of)[stripe] if of in trees.addresses else None
            if source and source != TOP.address:
                found.append(trees.change(of, stripe, failed=(source,), slow=(), now=0.0))
    assert None in found
    assert trees.top == TOP.address
    assert max(count for (of, _), count in children(trees).items() if of == TOP.address) <= STRIPES
    require_order(trees)


@pytest.mark.parametrize("report", ["slow", "failed"])
def test_all_below_one_that_is_left_get_it_by_way_of_one_of_them_and_not_from_each_other(report: str) -> None:
    """The whole tree of a stripe may be below it: whoever is below another one that has not left it waits on."""
    trees = trees_of(300)
    stripe = 2
    bad = next(of for of in trees.addresses if sources(trees, of)[stripe] == TOP.address)
    below_bad = [of for of in trees.addresses if sources(trees, of)[stripe] == bad]
    assert len(below(trees, bad, stripe)) == 299, "the test has the wrong node"
    reports = {"slow": (), "failed": (), report: (bad,)}
    for of in below_bad:
        trees.change(of, stripe, **reports, now=0.0)
    for of in below_bad:  # those that said so first, once more
        trees.change(of, stripe, failed=(), slow=(), now=0.3)
        assert bad not in [spot.place.address for spot in trees._upwards(trees._spots[of], stripe)]
    assert max(depth(trees, of, stripe) for of in trees.addresses) <= 8
    require_order(trees)


@pytest.mark.parametrize("has_come_again", [False, True], ids=["gone", "come again"])
def test_also_all_below_one_that_is_gone(*, has_come_again: bool) -> None:
    trees = trees_of(300)
    stripe = 2
    bad = next(of for of in trees.addresses if sources(trees, of)[stripe] == TOP.address)
    followers = [of for of in trees.addresses if sources(trees, of)[stripe] == bad]
    trees.drop(bad)
    if has_come_again:
        trees.join([(NodeLocation(bad), False)])
    left = []
    for of in followers:
        found = trees.change(of, stripe, failed=(bad,), slow=(), now=0.0)
        left.append(of)
        assert found is not None
        if found != TOP.address:
            assert any(above.place.address in left for above in trees._upwards(trees._spots[found], stripe))
    require_order(trees)


def spread_all(trees: StripeTrees, stripe: int, *, seed: int = 3) -> None:
    order = list(trees.addresses)
    Random(seed).shuffle(order)
    for of in order:
        trees.spread(of, stripe, places=2, now=0.0)


def test_a_stripe_that_comes_last_goes_on_by_way_of_all() -> None:
    """With eight children each, and an eighth of the nodes, it came as slowly as while all came."""
    trees = trees_of(300)
    stripe = 5
    order = list(trees.addresses)
    Random(3).shuffle(order)
    for of in order:
        before = trees.source_of(of, stripe)
        found = trees.spread(of, stripe, places=2, now=0.0)
        assert found == trees.source_of(of, stripe)
        assert trees.is_top(of) or (before == TOP.address) <= (found == TOP.address), "a top is not left"
    require_order(trees)
    given = sorted((count for (_, one), count in children(trees).items() if one == stripe), reverse=True)
    assert given[0] <= 4
    assert sum(given) == 300
    assert max(depth(trees, of, stripe) for of in trees.addresses) <= 14


def test_a_last_stripe_stays_within_its_zone() -> None:
    trees = trees_of(120, zones=3)
    before = {of: trees.source_of(of, 5) for of in trees.addresses}
    spread_all(trees, 5)
    for of, source in before.items():
        other = trees.source_of(of, 5)
        if other != source:
            assert other is not None
            assert trees._spots[other].place.zone == trees._spots[of].place.zone
    require_order(trees)


def test_one_with_few_followers_and_one_that_is_slow_give_a_last_stripe_to_no_more() -> None:
    trees = trees_of(300, slow=20)
    stripe = 5
    slow = [of for of in trees.addresses if is_slow(trees, of)]
    for of in slow:
        assert trees.spread(of, stripe, places=2, now=0.0) == trees.source_of(of, stripe)
    spread_all(trees, stripe)
    assert not {trees.source_of(of, stripe) for of in trees.addresses} & set(slow)
    before = {of: trees.source_of(of, stripe) for of in trees.addresses}
    spread_all(trees, stripe, seed=4)
    moved = [of for of in trees.addresses if trees.source_of(of, stripe) != before[of]]
    assert all(trees._children(trees._spots[source]) > 1 for of in moved if (source := before[of])), "one had two only"
    require_order(trees)


@pytest.mark.parametrize("pause", [1000, 20, 1], ids=["first", "now and then", "after each other one"])
def test_who_says_that_it_has_all_others_before_all_others_do_gets_hardly_more_of_them_below_it(pause: int) -> None:
    """It may lie: then those below it wait for it."""
    trees = trees_of(150)
    liar = address(150)
    others = [of for of in trees.addresses if of not in {liar, TOP.address}]
    Random(1).shuffle(others)
    for number, of in enumerate(others):
        for stripe in range(STRIPES):
            if number % pause == 0:
                trees.spread(liar, stripe, places=16, now=0.0)
            trees.spread(of, stripe, places=2, now=0.0)
    assert len(children_of(trees, liar)) <= 2 * STRIPES
    own = trees._spots[liar].own  # it passes this one on: to those on the same level, all the more
    found = {stripe: len(below(trees, liar, stripe)) for stripe in range(STRIPES) if stripe != own}
    assert sum(found.values()) <= STRIPES**2
    require_order(trees)


def test_those_that_wait_for_a_silent_node_become_the_sources_of_no_others() -> None:
    """They have all other stripes first, because this one does not come."""
    trees = trees_of(300)
    stripe = 5
    silent = max(trees.addresses, key=lambda of: (depth(trees, of, stripe), len(below(trees, of, stripe))))
    silent = sources(trees, silent)[stripe] or silent
    waiting = below(trees, silent, stripe)
    assert waiting
    others = [of for of in trees.addresses if of not in {silent, *waiting}]
    Random(2).shuffle(others)
    for of in (*waiting, *others):
        trees.spread(of, stripe, places=2, now=0.0)
    assert set(below(trees, silent, stripe)) == set(waiting)
    require_order(trees)


def test_where_an_answer_is_lost_no_two_nodes_follow_each_other() -> None:
    trees = trees_of(300)
    stripe = 5
    source = next(
        of
        for of in trees.addresses
        if len([one for one in trees.addresses if trees.source_of(one, stripe) == of]) == STRIPES
        and trees.source_of(of, stripe) != TOP.address
    )
    beside = [of for of in trees.addresses if trees.source_of(of, stripe) == trees.source_of(source, stripe) != of]
    elsewhere = next(of for of in trees.addresses if trees.source_of(of, stripe) in {*beside} - {source})
    first, lost, *_ = [of for of in trees.addresses if trees.source_of(of, stripe) == source]
    trees.spread(elsewhere, stripe, places=1, now=0.0)
    trees.spread(first, stripe, places=1, now=0.0)
    assert trees.spread(lost, stripe, places=2, now=0.0) == first  # and it goes on at the source
    trees.spread(source, stripe, places=2, now=0.0)
    above = [spot.place.address for spot in trees._upwards(trees._spots[source], stripe)]
    assert lost not in above
    require_order(trees)


def test_those_that_say_that_one_stripe_comes_last_and_go_leave_nothing() -> None:
    trees = trees_of(30)
    for number in range(1000, 3000):
        of = address(number)
        trees.join([(place(number), False)])
        for stripe in range(STRIPES):
            trees.spread(of, stripe, places=2, now=0.0)
        trees.drop(of)
    for stripe in range(STRIPES):
        spread_all(trees, stripe)
    kept = [of for spot in trees._spots.values() for spare in spot.spare.values() for of in spare]
    assert len(kept) <= 31 * STRIPES + 100
    require_order(trees)


def test_one_that_does_not_give_it_for_the_name_is_not_named_for_a_last_stripe() -> None:
    trees = trees_of(300)
    stripe = 5
    source = max(trees.addresses, key=lambda of: sum(trees.source_of(one, stripe) == of for one in trees.addresses))
    first, second, third, *_ = [of for of in trees.addresses if trees.source_of(of, stripe) == source]
    trees.spread(first, stripe, places=2, now=0.0)
    assert trees.spread(second, stripe, places=2, unfit=(first,), now=0.0) == source
    assert trees.spread(third, stripe, places=2, now=0.0) == first
    require_order(trees)
