"""The event loop of simulated waves: its order is asyncio's, and its time is that of what is due next."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from benchmarks.simulate.clock import run_virtually


def test_an_hour_passes_at_once() -> None:
    async def main() -> float:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - begun

    begun = monotonic()
    assert run_virtually(main()) == 3600
    assert monotonic() - begun < 10


def test_what_is_due_comes_in_the_order_of_time_and_then_of_asking() -> None:
    async def main() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        for number in range(9):
            loop.call_later(1, order.append, f"second {number}")
        loop.call_later(0.5, order.append, "first")
        loop.call_soon(order.append, "at once")
        await asyncio.sleep(2)
        return order

    assert run_virtually(main()) == ["at once", "first", *(f"second {number}" for number in range(9))]


def test_time_does_not_pass_while_anything_is_to_be_done() -> None:
    async def main() -> float:
        timer = asyncio.create_task(asyncio.sleep(1))
        for _ in range(100):
            await asyncio.sleep(0)
        passed = asyncio.get_running_loop().time()
        await timer
        return passed

    assert run_virtually(main()) == 0


def test_what_is_cancelled_is_not_called_and_does_not_pile_up() -> None:
    async def main() -> tuple[list[int], int]:
        called: list[int] = []
        loop = asyncio.get_running_loop()
        loop.call_later(5, called.append, 5)
        for number in range(10_000):
            loop.call_later(1 + number % 7, called.append, number).cancel()
        loop.call_soon(called.append, -1).cancel()
        kept = len(loop._timers)  # type: ignore[attr-defined]
        await asyncio.sleep(10)
        return called, kept

    called, kept = run_virtually(main())
    assert called == [5]
    assert kept < 2500


def test_time_limits_end_what_waits_for_long() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 3


def test_a_circle_of_waiting_is_said_at_once() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="every task waits"):
        run_virtually(main())
