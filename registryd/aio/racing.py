"""Several attempts at the same thing: results as they arrive, and the first success.

Attempts start in waves: the next wave when all of the latest have ended, or when `patience` has passed. One wave of all
attempts starts them at once; waves of one are the staggered start of happy eyeballs (RFC 8305).
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from registryd.aio.endings import run_to_end
from registryd.aio.race import Race

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from registryd.aio.race import Attempt, Waves

T = TypeVar("T")


class AllFailed(Exception):
    """No attempt succeeded; `reasons` has every failure in the order in which they came, none if none was made."""

    def __init__(self, reasons: Sequence[Exception]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons)) or "there was nothing to try"


def at_once(attempts: Iterable[Attempt[T]]) -> Waves[T]:
    """All attempts in one wave."""
    return (tuple(attempts),)


async def one_by_one(attempts: AsyncGenerator[Attempt[T], None]) -> AsyncGenerator[Sequence[Attempt[T]], None]:
    """Each attempt is a wave, taken when it is its turn; closes what they are taken from."""
    async with aclosing(attempts):
        async for attempt in attempts:
            yield (attempt,)


async def arrivals(
    waves: Waves[T],
    *,
    expected: type[Exception] | tuple[type[Exception], ...],
    patience: float = 0.0,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield the results of attempts as they arrive; closing it ends everything that was started.

    An `expected` exception means that this attempt failed; any other one ends the run and is raised. Raises AllFailed
    at the end when no attempt succeeded. Waves start only while the next result is being waited for.

    On every way out, what still runs is cancelled and awaited, results that were not yielded are given to `discard`,
    and the waves are closed.
    """
    race = Race(waves, patience)
    failures: list[Exception] = []
    succeeded = False
    try:
        while task := await race.next_finished():
            # Asked for and not raised here: its traceback would hold this frame, which holds it, and what failed,
            # such as a connection, would stay until the garbage collector comes by.
            failure = task.exception()
            if isinstance(failure, expected):
                failures.append(failure)
            else:
                succeeded = True
                yield task.result()
    finally:
        race.stop_timer()
        if not race.is_over:
            await run_to_end(_end(race, discard), name="end of a race")
    if not succeeded:
        raise AllFailed(failures)


async def first_success(
    waves: Waves[T],
    *,
    expected: type[Exception] | tuple[type[Exception], ...],
    patience: float = 0.0,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Return the first result of `arrivals`, after everything else has ended; raises as it does."""
    results = arrivals(waves, expected=expected, patience=patience, discard=discard)
    winner = await anext(results)
    try:
        await results.aclose()
    except BaseException:
        # Cancelled while the losers were ending: no caller is left to take the winner.
        await run_to_end(_discard_all([winner], discard), name="discard winner")
        raise
    return winner


async def _end(race: Race[T], discard: Callable[[T], Awaitable[object]] | None) -> None:
    try:
        await _discard_all(await race.stop(), discard)
    finally:
        await race.aclose()


async def _discard_all(results: Sequence[T], discard: Callable[[T], Awaitable[object]] | None) -> None:
    if discard is not None:
        for result in results:
            await discard(result)
