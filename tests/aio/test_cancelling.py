"""A block that others may end ends as if it were over; nothing else is taken for that end."""

from __future__ import annotations

import asyncio

import pytest

from registryd.aio.cancelling import CancelScope

pytestmark = pytest.mark.looptime


async def sleep_in(scope: CancelScope, seconds: float = 100.0) -> None:
    async with scope:
        await asyncio.sleep(seconds)


async def test_a_block_is_ended_from_outside_and_its_task_goes_on(looptime: int) -> None:
    scope = CancelScope()
    asyncio.get_running_loop().call_later(1, scope.cancel)
    await sleep_in(scope)
    assert scope.cancelled_caught
    assert looptime == 1
    await asyncio.sleep(1)
    assert looptime == 2


async def test_a_block_that_is_over_first_is_not_ended() -> None:
    scope = CancelScope()
    assert not scope.cancel(), "it has not begun"
    await sleep_in(scope, 1)
    assert not scope.cancel()
    assert not scope.cancelled_caught


async def test_it_is_told_to_end_once() -> None:
    scope, told = CancelScope(), list[bool]()

    async def tell() -> None:
        told.append(scope.cancel())
        told.append(scope.cancel())
        await asyncio.sleep(0)
        told.append(scope.cancel())

    telling = asyncio.create_task(tell())
    async with scope:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)  # a clean-up, during which it is told again
    await telling
    assert told == [True, False, False]
    assert scope.cancelled_caught


@pytest.mark.parametrize("error", [TimeoutError("a time-out"), ValueError("a bug")])
async def test_what_the_block_raises_itself_is_raised(error: Exception) -> None:
    async def fail(scope: CancelScope) -> None:
        async with scope:
            try:
                await asyncio.sleep(100)
            finally:
                raise error

    scope = CancelScope()
    asyncio.get_running_loop().call_later(1, scope.cancel)
    with pytest.raises(type(error), match=str(error)):
        await fail(scope)
    assert not scope.cancelled_caught


async def test_a_task_that_is_cancelled_is_cancelled() -> None:
    scope = CancelScope()
    task = asyncio.create_task(sleep_in(scope))
    await asyncio.sleep(1)
    scope.cancel()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert not scope.cancelled_caught


async def test_an_inner_block_ends_alone() -> None:
    outer, inner = CancelScope(), CancelScope()
    asyncio.get_running_loop().call_later(1, inner.cancel)
    async with outer:
        await sleep_in(inner)
    assert (outer.cancelled_caught, inner.cancelled_caught) == (False, True)
