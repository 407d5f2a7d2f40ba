from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.racing import AllFailed, arrivals, at_once, first_success, one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from registryd.aio.racing import Attempt, Waves

pytestmark = pytest.mark.looptime


class Refused(Exception):
    """The failure that attempts are expected to have."""


class Runners:
    """Makes attempts that take their time, and keeps a record of what became of them."""

    def __init__(self) -> None:
        self.started: list[tuple[float, str]] = []
        self.cancelled: list[str] = []
        self.discarded: list[str] = []

    def arrives(self, name: str, *, after: float) -> Attempt[str]:
        return partial(self._run, name, after, None)

    def fails(self, name: str, *, after: float, error: Exception | None = None) -> Attempt[str]:
        return partial(self._run, name, after, error or Refused(name))

    def stubborn(self, name: str, *, dies_in: float) -> Attempt[str]:
        async def run() -> str:
            try:
                return await self._run(name, 1000, None)
            except asyncio.CancelledError:
                await asyncio.sleep(dies_in)
                return name  # swallows the cancellation: it had its result in hand

        return run

    async def discard(self, name: str) -> None:
        await asyncio.sleep(0)
        self.discarded.append(name)

    async def _run(self, name: str, after: float, error: Exception | None) -> str:
        self.started.append((asyncio.get_running_loop().time(), name))
        try:
            await asyncio.sleep(after)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error:
            raise error
        return name


@pytest.fixture
def runners() -> Runners:
    return Runners()


async def each(attempts: Sequence[Attempt[str]]) -> AsyncGenerator[Attempt[str], None]:
    for attempt in attempts:
        yield attempt


def staggered(*attempts: Attempt[str]) -> AsyncGenerator[Sequence[Attempt[str]], None]:
    return one_by_one(each(attempts))


async def test_the_first_success_wins_and_the_losers_are_cancelled(runners: Runners, looptime: int) -> None:
    attempts = [runners.arrives("slow", after=5), runners.fails("bad", after=1), runners.arrives("quick", after=2)]
    assert await first_success(at_once(attempts), expected=Refused) == "quick"
    assert runners.cancelled == ["slow"]
    assert looptime == 2


async def test_losers_are_awaited_before_the_winner_is_handed_over(runners: Runners, looptime: int) -> None:
    attempts = [runners.stubborn("stubborn", dies_in=3), runners.arrives("quick", after=1)]
    assert await first_success(at_once(attempts), expected=Refused, discard=runners.discard) == "quick"
    assert runners.discarded == ["stubborn"]
    assert looptime == 4


async def test_of_two_winners_in_one_iteration_the_second_is_discarded(runners: Runners) -> None:
    gun = asyncio.Event()

    async def run(name: str) -> str:
        await gun.wait()
        return name

    asyncio.get_running_loop().call_later(1, gun.set)
    attempts = [partial(run, "one"), partial(run, "two")]
    assert await first_success(at_once(attempts), expected=Refused, discard=runners.discard) == "one"
    assert runners.discarded == ["two"]


async def test_when_all_fail_every_reason_is_kept(runners: Runners, looptime: int) -> None:
    attempts = [runners.fails("second", after=2), runners.fails("first", after=1)]
    with pytest.raises(AllFailed) as caught:
        await first_success(at_once(attempts), expected=Refused)
    assert [str(reason) for reason in caught.value.reasons] == ["first", "second"]
    assert str(caught.value) == "first; second"
    assert looptime == 2


async def test_nothing_to_try_is_a_failure_without_reasons() -> None:
    with pytest.raises(AllFailed, match="nothing to try") as caught:
        await first_success(at_once([]), expected=Refused)
    assert caught.value.reasons == ()


async def test_an_unexpected_error_is_a_bug_and_ends_everything(runners: Runners) -> None:
    attempts = [runners.fails("bug", after=1, error=KeyError("bug")), runners.arrives("slow", after=5)]
    with pytest.raises(KeyError):
        await first_success(at_once(attempts), expected=Refused)
    assert runners.cancelled == ["slow"]


async def test_a_race_that_is_cancelled_cancels_all(runners: Runners, looptime: int) -> None:
    attempts = [runners.arrives("one", after=5), runners.stubborn("two", dies_in=1)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await first_success(at_once(attempts), expected=Refused, discard=runners.discard)
    assert runners.cancelled == ["one", "two"]
    assert runners.discarded == ["two"]
    assert looptime == 3


async def test_cancelled_while_the_losers_end_the_winner_is_discarded(runners: Runners, looptime: int) -> None:
    attempts = [runners.arrives("quick", after=1), runners.stubborn("stubborn", dies_in=3)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await first_success(at_once(attempts), expected=Refused, discard=runners.discard)
    assert sorted(runners.discarded) == ["quick", "stubborn"]
    assert looptime == 4


async def test_staggered_the_next_starts_when_patience_ends(runners: Runners, looptime: int) -> None:
    waves = staggered(*(runners.arrives(name, after=10) for name in ("a", "b", "c")))
    assert await first_success(waves, expected=Refused, patience=2) == "a"
    assert runners.started == [(0, "a"), (2, "b"), (4, "c")]
    assert looptime == 10


async def test_staggered_the_next_starts_when_the_previous_fails(runners: Runners, looptime: int) -> None:
    waves = staggered(runners.arrives("a", after=10), runners.fails("b", after=0.5), runners.arrives("c", after=1))
    assert await first_success(waves, expected=Refused, patience=2) == "c"
    assert runners.started == [(0, "a"), (2, "b"), (2.5, "c")]
    assert looptime == 3.5


async def test_what_was_not_needed_never_starts(runners: Runners) -> None:
    waves = staggered(runners.arrives("a", after=1), runners.arrives("b", after=1))
    assert await first_success(waves, expected=Refused, patience=2) == "a"
    assert runners.started == [(0, "a")]


async def found_out(waves: Sequence[Sequence[Attempt[str]]]) -> AsyncGenerator[Sequence[Attempt[str]], None]:
    for wave in waves:
        yield wave


@pytest.mark.parametrize("given", [tuple, found_out])
async def test_a_wave_waits_for_all_of_the_one_before(runners: Runners, given: Callable[..., Waves[str]]) -> None:
    waves = [[runners.fails("a", after=1), runners.fails("b", after=3)], [runners.arrives("c", after=1)]]
    assert await first_success(given(waves), expected=Refused, patience=5) == "c"
    assert runners.started == [(0, "a"), (0, "b"), (3, "c")]


@pytest.mark.parametrize("given", [tuple, found_out])
async def test_an_empty_wave_is_passed_over(runners: Runners, looptime: int, given: Callable[..., Waves[str]]) -> None:
    waves: list[list[Attempt[str]]] = [[], [runners.arrives("a", after=1)], []]
    assert await first_success(given(waves), expected=Refused, patience=5) == "a"
    assert looptime == 1


@pytest.mark.parametrize("given", [tuple, found_out])
async def test_a_wave_joins_one_that_takes_too_long(
    runners: Runners, looptime: int, given: Callable[..., Waves[str]]
) -> None:
    waves = [[runners.arrives("a", after=9), runners.fails("b", after=1)], [runners.arrives("c", after=3)]]
    assert await first_success(given(waves), expected=Refused, patience=2) == "c"
    assert runners.cancelled == ["a"]
    assert looptime == 5


async def test_waves_may_be_slow_to_come_and_are_closed(runners: Runners, looptime: int) -> None:
    closed: list[str] = []

    async def slow_to_come() -> AsyncGenerator[Attempt[str], None]:
        try:
            yield runners.arrives("a", after=10)
            await asyncio.sleep(3)
            yield runners.arrives("b", after=2)
            await asyncio.sleep(1000)
        finally:
            closed.append("closed")

    async with aclosing(arrivals(one_by_one(slow_to_come()), expected=Refused, patience=1)) as results:
        assert await anext(results) == "b"
        assert looptime == 6
        assert await anext(results) == "a"
        assert looptime == 10
    assert closed == ["closed"]


async def test_results_come_as_they_arrive(runners: Runners, looptime: int) -> None:
    attempts = [runners.arrives("c", after=3), runners.arrives("a", after=1), runners.fails("b", after=2)]
    seen = [
        (result, asyncio.get_running_loop().time()) async for result in arrivals(at_once(attempts), expected=Refused)
    ]
    assert seen == [("a", 1), ("c", 3)]


async def test_closing_ends_what_is_left(runners: Runners, looptime: int) -> None:
    attempts = [
        runners.arrives("a", after=1),
        runners.arrives("b", after=2),
        runners.stubborn("c", dies_in=1),
        runners.arrives("d", after=9),
    ]
    results = arrivals(at_once(attempts), expected=Refused, discard=runners.discard)
    assert await anext(results) == "a"
    await asyncio.sleep(2)
    await results.aclose()
    assert runners.discarded == ["b", "c"]
    assert runners.cancelled == ["c", "d"]
    assert looptime == 4


async def test_closing_before_the_start_starts_nothing(runners: Runners) -> None:
    results = arrivals(at_once([runners.arrives("a", after=1)]), expected=Refused)
    await results.aclose()
    assert runners.started == []


async def test_closing_closes_what_attempts_are_taken_from(runners: Runners) -> None:
    closed: list[str] = []

    async def attempts() -> AsyncGenerator[Attempt[str], None]:
        try:
            yield runners.arrives("a", after=1)
            yield runners.arrives("b", after=1)
        finally:
            closed.append("closed")

    assert await first_success(one_by_one(attempts()), expected=Refused, patience=5) == "a"
    assert closed == ["closed"]


async def test_failures_are_gone_with_the_last_who_looks_at_them() -> None:
    """No error is in a cycle with its traceback and a frame: what failed would wait for the garbage collector."""
    gc.disable()
    try:
        with pytest.raises(AllFailed) as caught:
            await first_success(at_once([partial(_fails_holding, held := {Held()})]), expected=Refused)
        trace = weakref.ref(held.pop())
        assert trace() is not None
        del caught
        assert trace() is None
    finally:
        gc.enable()


class Held:
    """Something that a failing attempt has in its hands."""


async def _fails_holding(held: set[Held]) -> None:
    (mine,) = held
    await asyncio.sleep(0)
    raise Refused(str(mine))
