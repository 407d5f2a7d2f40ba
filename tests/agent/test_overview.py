"""What people are told of the cluster costs the cluster little, however many ask."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from registryd.agent.overview import AgentOverview
from registryd.cluster.contract.view import ClusterView
from registryd.cluster.diagnosis.values import Examination, Vitals
from registryd.notation import Address
from registryd.serving.transfers import Transfers

pytestmark = pytest.mark.looptime


class Signs:
    async def take(self) -> Vitals:
        return Vitals(name="n1", version="1.0", time=0.0, up_seconds=5, images=3, hits=2)

    async def view(self) -> ClusterView:
        return ClusterView()

    async def store(self) -> None:
        return None

    transfers = Transfers()


class CountedCheckup:
    """Asks its members for a second, and counts how often."""

    def __init__(self) -> None:
        self.looks = 0

    @staticmethod
    def own_address() -> Address:
        return Address("127.0.0.1", 3173)

    async def reports(self) -> list[Examination]:
        self.looks += 1
        await asyncio.sleep(1)
        return []


@pytest.fixture
def checkup() -> CountedCheckup:
    return CountedCheckup()


@pytest.fixture
def overview(checkup: CountedCheckup) -> AgentOverview:
    nobody = cast("Any", None)
    return AgentOverview(nobody, nobody, signs=cast("Any", Signs()), checkup=cast("Any", checkup), desk=nobody)


async def test_one_look_at_the_members_is_for_all_who_ask_in_two_seconds(
    overview: AgentOverview, checkup: CountedCheckup
) -> None:
    told = await asyncio.gather(*(overview.cluster(with_names=True) for _ in range(100)))
    await asyncio.sleep(1.9)
    told.append(await overview.cluster(with_names=True))
    assert checkup.looks == 1
    assert [each["node"]["name"] for each in told] == ["n1"] * 101
    await asyncio.sleep(0.2)
    await overview.cluster(with_names=True)
    assert checkup.looks == 2


async def test_who_goes_away_while_it_looks_takes_nothing_from_the_next(
    overview: AgentOverview, checkup: CountedCheckup
) -> None:
    asking = asyncio.create_task(overview.cluster(with_names=True))
    waiting = asyncio.create_task(overview.cluster(with_names=True))
    await asyncio.sleep(0.5)
    asking.cancel()
    assert (await waiting)["members"] == []
    assert checkup.looks == 2
