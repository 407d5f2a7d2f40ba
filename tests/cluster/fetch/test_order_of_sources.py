"""In which order sources are asked for content and opened, and what becomes of a request whatever they do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registryd.cluster.contract.index import ClaimReply
from registryd.cluster.fetch.places import Pressed
from registryd.content.asker import AskAgain
from registryd.content.growing import NotArrived
from registryd.content.source import ContentUnavailable
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourcesExhausted
from tests.cluster.fetch.examples import (
    DATA,
    DIGEST,
    FETCH_WAIT,
    SIZE,
    Character,
    EndingPlaces,
    Example,
    Opening,
    Opens,
    Says,
    ScriptedIndex,
    address,
    all_of_it,
    now,
    run,
)
from tests.fakes.entitled import sought
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from registryd.content.source import OpenContent
    from registryd.notation import Address

SOUGHT = sought(DIGEST)
MOST_MEMBERS = 5
# How long a source that is being opened is left alone: others may be tried beside it after the first time, and the
# next of those that index nodes name after the second; of these, when it is the last, after the third.
PATIENCE = 0.25
OPEN_SECONDS = 1.0
LAST_SECONDS = 2.0

# An opening ends within what `DoorTimeouts` allow. Each pause is on one side of a bound.
characters = st.builds(
    Character,
    says=st.sampled_from(Says),
    opens=st.sampled_from(Opens),
    seconds=st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5]),
    since=st.sampled_from([0.0, 0.5, 2.0, 6.0]),
)
clusters = st.lists(characters, min_size=1, max_size=MOST_MEMBERS)
# Among them a member that nobody knows.
numbers = st.lists(st.integers(1, MOST_MEMBERS + 1), unique=True, max_size=4)
replies = st.builds(
    lambda named, is_whole: ClaimReply(tuple(map(address, named)), is_whole=is_whole and bool(named)),
    numbers,
    st.booleans(),
)
indexes = st.builds(
    lambda known, is_whole: ScriptedIndex(known, is_whole=is_whole), numbers, st.booleans()
) | st.builds(lambda said: ScriptedIndex(replies=said), st.lists(st.none() | replies, max_size=9))


async def opened(example: Example) -> OpenContent | None:
    """What a request gets; None when there is none, which is said in the two ways that callers expect."""
    try:
        return await example.fetcher.open(SOUGHT, all_of_it)
    except (ContentUnavailable, RangeInvalid):
        return None


async def asked_for_all(members: list[Character], index: ScriptedIndex) -> tuple[Example, OpenContent | None]:
    """A request from its beginning to its end; what it got is closed."""
    example = Example(members, index)
    content = await opened(example)
    if content is not None:
        await content.body.aclose()
    example.require_nothing_left()
    return example, content


# ---------------------------------------------------------------- one request


@given(clusters, indexes)
def test_content_is_found_if_any_member_gives_it(members: list[Character], index: ScriptedIndex) -> None:
    example, content = run(lambda: asked_for_all(members, index))
    able = [each for each in members if each.can_give]
    if content is None:  # what grows later may come after the last look
        answer = index.answers[-1]
        is_to_fetch = answer is not None and not answer.sources
        assert all(each.says is Says.GROWING and (each.since or is_to_fetch) for each in able)
    else:
        given = [opening.number for opening in example.openings if opening.is_given]
        assert all(example.characters[number].can_give for number in given)


@example(
    [*[Character(seconds=seconds) for seconds in (0.3, 0.0, 0.0)], Character(opens=Opens.BREAKS, seconds=2.5)],
    ScriptedIndex([4], is_whole=False),
)
@given(clusters, indexes)
def test_a_member_that_failed_is_not_opened_again(members: list[Character], index: ScriptedIndex) -> None:
    example, _ = run(lambda: asked_for_all(members, index))
    require_none_opened_again(example)


def require_none_opened_again(example: Example) -> None:
    failed = [number for number in example.opened if example.characters[number].opens.is_failure]
    assert len(failed) == len(set(failed))


@given(clusters, indexes)
def test_each_member_that_may_have_it_is_tried_before_a_request_is_refused(
    members: list[Character], index: ScriptedIndex
) -> None:
    example, content = run(lambda: asked_for_all(members, index))
    if content is None:
        offering = {
            number
            for number, each in example.characters.items()
            if each.says in {Says.WHOLE, Says.BUSY} and each.opens is not Opens.HAS_LESS
        }
        assert offering <= set(example.opened)
        assert {asked.number for asked in example.asked} == set(example.characters)


@given(clusters, indexes)
def test_sources_are_opened_one_after_the_other_unless_one_takes_long(
    members: list[Character], index: ScriptedIndex
) -> None:
    example, _ = run(lambda: asked_for_all(members, index))
    for one, other in pairwise(example.openings):
        assert has_ended(one, other.at) or other.at >= one.at + PATIENCE - 1e-6
        if index.at and other.at <= index.at[-1]:  # another that index nodes named
            assert has_ended(one, other.at) or other.at >= one.at + OPEN_SECONDS


def has_ended(opening: Opening, at: float) -> bool:
    return opening.ended_at is not None and opening.ended_at <= at + 1e-6


@given(clusters, indexes)
def test_sources_are_asked_in_the_order_in_which_index_nodes_name_them(
    members: list[Character], index: ScriptedIndex
) -> None:
    example, _ = run(lambda: asked_for_all(members, index))
    for begun, ended, answer, claim in zip(
        index.at, [*index.at[1:], float("inf")], index.answers, index.claims, strict=True
    ):
        sources = answer.sources if answer else ()
        # An index node may name those again of which it has just been told that it is not for them to give this.
        named = [example.number_of(each) for each in sources if example.get(each) and each not in claim.unfit]
        asked = [each.number for each in example.asked if begun <= each.at < ended]
        once = list(dict.fromkeys(asked))
        # The last answer may be followed by a search, in which all are asked.
        assert once[: len(named)] == named[: len(once)]
        if ended != float("inf"):
            assert set(once) == set(named), "nobody else is asked while index nodes name sources"


@example(
    [Character(seconds=2.5)], ScriptedIndex(replies=[ClaimReply((address(1),)), ClaimReply((address(1),))])
)  # it is named again while it is being opened
@given(clusters, indexes)
def test_index_nodes_are_told_of_each_source_that_did_not_help(members: list[Character], index: ScriptedIndex) -> None:
    run(lambda: asked_for_all(members, index))
    told: set[Address] = set()
    for answer, following in zip(index.answers, index.claims[1:], strict=False):
        assert answer is not None
        told |= {*following.failed, *following.unfit}
        for each in answer.sources:
            character = dict(enumerate(members, start=1)).get(int(each.host.rpartition(".")[2]), Character(Says.ABSENT))
            is_at_work = character.says in {Says.WAITING, Says.GROWING}
            assert each in told or is_at_work


@given(clusters)
def test_of_those_nobody_named_whole_content_comes_first_and_the_busy_last(members: list[Character]) -> None:
    example, _ = run(lambda: asked_for_all(members, ScriptedIndex()))
    order = [Says.WHOLE, Says.GROWING, Says.BUSY]
    found = [order.index(example.characters[number].says) for number in example.opened]
    assert found == sorted(found)


@given(clusters, st.integers(0, 9), st.booleans())
def test_index_nodes_are_asked_a_bounded_number_of_times(members: list[Character], known: int, is_whole: bool) -> None:
    reply = ClaimReply(tuple(address(number) for number in range(1, known + 1)), is_whole=is_whole and bool(known))
    index = ScriptedIndex(replies=[reply] * 100)
    example, _ = run(lambda: asked_for_all(members, index))
    assert 1 <= len(index.claims) <= 8
    require_none_opened_again(example)


def test_the_last_that_is_named_is_left_after_two_seconds_for_one_that_index_nodes_name_next() -> None:
    async def example() -> list[float]:
        members = [Character(seconds=60.0), Character()]
        replies: list[ClaimReply | None] = [ClaimReply((address(number),), is_whole=True) for number in (1, 2)]
        done, _ = await asked_for_all(members, ScriptedIndex(replies=replies))
        assert done.opened == [1, 2]
        return [opening.at for opening in done.openings]

    first, second = run(example)
    assert second - first == pytest.approx(PATIENCE + LAST_SECONDS, abs=0.1)


def test_one_that_takes_very_long_to_open_is_left_for_the_next_that_is_named() -> None:
    async def example() -> list[float]:
        members = [Character(seconds=60.0), Character()]
        done, _ = await asked_for_all(members, ScriptedIndex([1, 2], is_whole=True))
        assert done.opened == [1, 2]
        return [opening.at for opening in done.openings]

    first, second = run(example)
    assert second - first == pytest.approx(PATIENCE + OPEN_SECONDS, abs=0.1)


@pytest.mark.parametrize("opens", [Opens.BREAKS, Opens.DECLINES, Opens.ELSEWHERE])
def test_one_that_does_not_open_is_left_at_once_for_the_next_that_is_named(opens: Opens) -> None:
    async def example() -> float:
        members = [Character(opens=opens, seconds=0.5), Character()]
        done, _ = await asked_for_all(members, ScriptedIndex([1, 2], is_whole=True))
        assert done.opened == [1, 2]
        return done.openings[1].at

    assert run(example) == pytest.approx(0.5, abs=0.05)


def test_of_two_that_open_in_the_same_moment_one_is_closed() -> None:
    async def example() -> list[bool]:
        members = [Character(seconds=PATIENCE + 0.125), Character(seconds=0.125)]
        example = Example(members, ScriptedIndex())
        content = await example.fetcher.open(SOUGHT, all_of_it)
        closed = [opening.is_closed for opening in example.openings if opening.is_given]
        await content.body.aclose()
        example.require_nothing_left()
        return closed

    assert sorted(run(example)) == [False, True]


# ---------------------------------------------------------------- cancelling, and requests side by side


async def requests(
    members: list[Character], index: ScriptedIndex, starts: list[float], cancelled_at: float, turns: int
) -> tuple[Example, list[OpenContent | None]]:
    """Requests for the same content that begin then; the first is cancelled so many turns of the loop later."""
    example = Example(members, index)

    async def request(start: float) -> OpenContent | None:
        await asyncio.sleep(start)
        content = await opened(example)
        if content is not None:
            await content.body.aclose()
        return content

    tasks = [asyncio.create_task(request(start)) for start in starts]
    await asyncio.sleep(cancelled_at)
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    example.require_nothing_left()
    return example, [task.result() for task in tasks[1:]]


@given(
    clusters,
    indexes,
    st.lists(st.sampled_from([0.0, 0.001, 0.5]), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.001, 0.002, 0.003, 0.1, 0.25, 0.252, 0.253, 0.3, 0.5, 1.0, 2.6, 3.25, 3.3, 5.0, 8.0, 12.0]),
    st.integers(0, 12),
)
def test_a_request_that_is_cancelled_leaves_nothing_and_harms_no_other(
    members: list[Character], index: ScriptedIndex, starts: list[float], cancelled_at: float, turns: int
) -> None:
    _, contents = run(lambda: requests(members, index, starts, cancelled_at, turns))
    if any(each.can_give and each.says is not Says.GROWING for each in members):
        assert all(content is not None for content in contents)


def test_what_was_opened_is_closed_when_the_request_is_cancelled_while_the_search_ends() -> None:
    async def example() -> None:
        example = Example([Character(), Character(says=Says.SILENT, lingers=0.25)], ScriptedIndex())
        opening = asyncio.create_task(example.fetcher.open(SOUGHT, all_of_it))
        await asyncio.sleep(0.125)
        assert [each.is_left_open for each in example.openings] == [True]
        assert example.questions == 1
        opening.cancel()
        await asyncio.wait((opening,))
        assert opening.cancelled()
        example.require_nothing_left()

    run(example)


# ---------------------------------------------------------------- following what an index node says, and no more


async def followed(
    members: list[Character], reply: ClaimReply
) -> tuple[Example, ContentUnavailable | RangeInvalid | None]:
    example = Example(members, ScriptedIndex())
    try:
        body = await example.fetcher.follow(SOUGHT, Span.whole(SIZE), reply)
    except (ContentUnavailable, RangeInvalid) as reason:
        return example, reason
    finally:
        assert not example.index.claims
    await body.aclose()
    example.require_nothing_left()
    return example, None


@given(clusters, numbers.filter(bool), st.booleans())
def test_only_those_are_asked_that_are_followed(members: list[Character], named: list[int], is_whole: bool) -> None:
    reply = ClaimReply(tuple(map(address, named)), is_whole=is_whole)
    example, reason = run(lambda: followed(members, reply))
    known = [number for number in named if number in example.characters]
    assert set(example.opened) <= {asked.number for asked in example.asked} <= set(known)
    if reason is not None:
        assert not any(example.characters[number].can_give for number in known if example.characters[number].since == 0)


@given(clusters, numbers.filter(bool))
def test_content_has_not_arrived_when_the_last_that_answers_is_at_work(
    members: list[Character], named: list[int]
) -> None:
    example, reason = run(lambda: followed(members, ClaimReply(tuple(map(address, named)))))
    known = [example.characters[number] for number in named if number in example.characters]
    waiting = [each for each in known if each.says is Says.WAITING or (each.says is Says.GROWING and each.since)]
    if isinstance(reason, NotArrived):
        assert waiting
        assert reason.received == 0
    elif reason is not None and known:
        last = [each for each in known if each.says in {Says.WAITING, Says.WHOLE, Says.BUSY, Says.GROWING}][-1:]
        assert not last or last[0].says is not Says.WAITING


# ---------------------------------------------------------------- waits that have to end


@given(clusters, numbers.filter(bool), st.sampled_from([0.0005, 0.5, 3.0]), st.booleans())
def test_a_wait_that_has_to_end_ends_the_request(
    members: list[Character], known: list[int], seconds: float, is_pressed: bool
) -> None:
    places = EndingPlaces(seconds, Pressed("something else is to be fetched") if is_pressed else AskAgain(SIZE))

    async def example() -> Example:
        example = Example(members, index := ScriptedIndex(known))
        example.coordinator.mind(places)  # type: ignore[arg-type]
        reason = None
        try:
            content = await example.fetcher.open(SOUGHT, all_of_it)
        except (ContentUnavailable, RangeInvalid, AskAgain) as error:
            reason = error
        else:
            await content.body.aclose()
        example.require_nothing_left()
        assert places.is_ended == (reason is places.reason)
        # Index nodes are told, and send this node to nobody.
        assert [claim.is_pressed for claim in index.claims[1:]].count(True) == (places.is_ended and is_pressed)
        assert not places.is_ended or index.claims[-1].is_pressed == is_pressed
        return example

    run(example)


def test_a_request_waits_for_those_at_work_no_longer_than_it_may() -> None:
    async def example() -> float:
        begun = now()
        index = ScriptedIndex(replies=[ClaimReply((address(1),))] * 20)
        await asked_for_all([Character(Says.WAITING)], index)
        return now() - begun

    assert run(example) == pytest.approx(FETCH_WAIT, abs=0.1)


# ---------------------------------------------------------------- going on elsewhere

breaking = st.builds(
    Character,
    says=st.sampled_from([Says.WHOLE, Says.BUSY, Says.ABSENT, Says.ELSEWHERE]),
    opens=st.sampled_from(Opens),
    seconds=st.sampled_from([0.0, 0.1]),
    gives=st.sampled_from([0, 1, SIZE // 3, SIZE - 1, SIZE]),
)


@given(st.lists(breaking, min_size=1, max_size=4), numbers)
def test_a_body_goes_on_at_the_same_byte_and_never_where_it_broke(members: list[Character], known: list[int]) -> None:
    async def example() -> tuple[Example, FakeSink, bool]:
        example, sink = Example(members, ScriptedIndex(known)), FakeSink()
        content = await opened(example)
        is_whole = False
        if content is not None:
            with suppress(SourcesExhausted):
                await content.body.send_to(sink)
                is_whole = True
            await content.body.aclose()
        example.require_nothing_left()
        return example, sink, is_whole

    done, sink, is_whole = run(example)
    assert bytes(sink.data) == DATA[: sink.sent]
    assert is_whole == (sink.sent == SIZE)
    broke = [opening.number for opening in done.openings if opening.reason and not refused(opening)]
    assert len(broke) == len(set(broke))
    starts = [opening.span.start for opening in done.openings]
    assert starts == sorted(starts)
    if any(each.can_give and each.gives == SIZE for each in members):
        assert is_whole


def refused(opening: Opening) -> bool:
    """Whether the member is well all the same."""
    return (
        opening.ended_at is not None
        and not opening.is_given
        and isinstance(opening.reason, ContentUnavailable | RangeInvalid)
    )
