"""A rate is kept by all together, in virtual time; what nobody waits for goes behind pulls, and has all of it alone."""

from __future__ import annotations

import asyncio

import pytest

from registryd.transfer.allowance import Allowance, Priority

MIB = 1 << 20

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(allowance: Allowance, count: int, priority: Priority = Priority.PULL, *, step: int = MIB // 4) -> float:
    """Take so many bytes in steps; returns when that was."""
    for _ in range(count // step):
        await allowance.wait(allowance.take(step, priority))
    return now()


async def test_without_a_rate_nothing_waits() -> None:
    assert await taken(Allowance(), 1000 * MIB) == 0


async def test_one_gets_the_rate() -> None:
    assert await taken(Allowance(10 * MIB), 100 * MIB) == pytest.approx(10, abs=0.2)


async def test_several_get_it_together_and_equally() -> None:
    allowance = Allowance(10 * MIB)
    ends = await asyncio.gather(*(taken(allowance, 25 * MIB) for _ in range(4)))
    assert ends == [pytest.approx(10, abs=0.3)] * 4


async def test_what_was_not_used_is_not_saved() -> None:
    allowance = Allowance(10 * MIB)
    await asyncio.sleep(100)
    assert await taken(allowance, 50 * MIB) == pytest.approx(105, abs=0.3)


async def test_a_rate_counts_from_its_change_on() -> None:
    allowance = Allowance(1 * MIB)
    taking = asyncio.create_task(taken(allowance, 60 * MIB))
    await asyncio.sleep(10)
    allowance.bytes_per_second = 50 * MIB
    assert await taking == pytest.approx(11, abs=0.6)


async def test_a_limit_can_be_lifted_for_who_waits() -> None:
    allowance = Allowance(1 * MIB)
    waiting = asyncio.create_task(allowance.wait(allowance.take(1000 * MIB)))
    await asyncio.sleep(1)
    allowance.bytes_per_second = 0
    await waiting
    assert now() < 2


async def test_the_background_is_a_quarter_of_what_comes_while_pulls_are_under_way() -> None:
    """On a limited rate of 40 MiB a second: some 10 for the background."""
    allowance = Allowance(40 * MIB)
    pull = asyncio.create_task(taken(allowance, 300 * MIB))
    behind = asyncio.create_task(taken(allowance, 1000 * MIB, Priority.BACKGROUND))
    assert await pull == pytest.approx(10, abs=1)
    # And all of it, when no pull is left: of 1000 MiB some 100 have come.
    assert await behind == pytest.approx(10 + 900 / 40, abs=2)


async def test_without_a_rate_it_goes_by_how_quickly_pulls_come() -> None:
    """A pull that a link gives 30 MiB a second: 10 for the background."""
    allowance = Allowance()
    pulled = asyncio.create_task(_paced_pull(allowance, 30 * MIB, seconds=10))
    behind = asyncio.create_task(_counted(allowance, until=10))
    await pulled
    assert await behind == pytest.approx(100 * MIB, rel=0.2)


async def test_the_background_does_not_starve() -> None:
    """It gets 1 MiB a second beside a pull that hardly moves."""
    allowance = Allowance(background=0.01)
    pulled = asyncio.create_task(_paced_pull(allowance, MIB, seconds=10))
    count = await _counted(allowance, until=10)
    await pulled
    assert count == pytest.approx(10 * MIB, rel=0.2)


async def _paced_pull(allowance: Allowance, rate: int, *, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        allowance.take(rate // 10)
        await asyncio.sleep(0.1)


async def _counted(allowance: Allowance, *, until: float) -> int:
    """How much the background gets by then."""
    count, step = 0, MIB // 4
    await asyncio.sleep(0.05)
    while now() < until:
        await allowance.wait(allowance.take(step, Priority.BACKGROUND))
        count += step
    return count


@pytest.mark.parametrize(
    ("text", "priority"), [("", Priority.PULL), ("background", Priority.BACKGROUND), ("x", Priority.PULL)]
)
async def test_a_priority_has_a_name(text: str, priority: Priority) -> None:
    assert Priority.named(text) is priority
