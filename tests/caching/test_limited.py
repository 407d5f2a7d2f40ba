"""Upstreams that have had enough (429): waited for when that is over in a moment, left alone when it is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.caching.patience import CachePatience
from registryd.caching.upstreams import Upstreams
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import UpstreamFailed, UpstreamLimited, UpstreamMissing
from tests.upstream.world import APP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.oci.reference import Registry, Repository

pytestmark = pytest.mark.looptime(start=1000.0)
PLACES = (Endpoint.parse("https://mirror.example"), Endpoint.parse("https://registry.example"))


class Places:
    """A registry of one endpoint, or of a mirror and itself."""

    def __init__(self, count: int) -> None:
        self._places = PLACES[-count:]

    def places(self, _registry: Registry) -> Sequence[Endpoint]:
        return self._places

    async def endpoints(self, _repository: Repository) -> Sequence[Endpoint]:
        return self._places


class Uncounted:
    def answered(self, failure: UpstreamFailed | None) -> None:
        pass


class Limiter:
    """Says each of these in turn, then that it is well; notes when it was asked, in seconds from the beginning."""

    def __init__(self, *says: UpstreamFailed | None) -> None:
        self._says = list(says)
        self._begun = now()
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, endpoint: Endpoint) -> str:
        self.asked.append((endpoint.root.host or "", round(now() - self._begun, 3)))
        failure = self._says.pop(0) if self._says else None
        if failure is not None:
            raise failure
        return "given"

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.asked]


def now() -> float:
    return asyncio.get_running_loop().time()


def upstreams(places: int = 1) -> Upstreams:
    return Upstreams(
        cast("Any", None),
        cast("Any", Places(places)),
        metrics=cast("Any", Uncounted()),
        clock=now,
        patience=CachePatience(limited=10.0),
    )


def limited(seconds: float | None = None) -> UpstreamLimited:
    return UpstreamLimited("enough", retry_after=seconds)


@pytest.mark.parametrize(
    ("says", "times"),
    [
        ((limited(2), limited(2)), [0, 2, 4]),
        ((limited(0),), [0, 1]),
        ((limited(), limited(), limited()), [0, 1, 3, 7]),
    ],
    ids=["for seconds", "a date that has passed", "unsaid"],
)
async def test_a_short_limit_is_waited_for(says: Sequence[UpstreamFailed], times: list[float]) -> None:
    limiter = Limiter(*says)
    assert await upstreams().ask(APP, limiter) == "given"
    assert limiter.times == times


@pytest.mark.parametrize(
    ("says", "times"),
    [((limited(11),), [0]), ((limited(4),) * 3, [0, 4, 8]), ((limited(),) * 4, [0, 1, 3, 7])],
    ids=["for longer", "again and again", "unsaid, again and again"],
)
async def test_one_that_lasts_is_not(says: Sequence[UpstreamFailed], times: list[float]) -> None:
    limiter, asked = Limiter(*says), upstreams()
    with pytest.raises(UpstreamLimited):
        await asked.ask(APP, limiter)
    assert limiter.times == times


async def test_who_has_something_to_go_on_with_does_not_wait() -> None:
    limiter = Limiter(limited(2))
    with pytest.raises(UpstreamLimited):
        await upstreams().ask(APP, limiter, waits=False)
    assert limiter.times == [0]


async def test_who_comes_meanwhile_waits_without_asking() -> None:
    limiter, asked = Limiter(limited(3)), upstreams()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asked.ask(APP, limiter))
        await asyncio.sleep(1)
        tasks.create_task(asked.ask(APP, limiter))
    assert limiter.times == [0, 3, 3]


async def test_another_endpoint_is_not_waited_for() -> None:
    limiter = Limiter(limited(2))
    assert await upstreams(2).ask(APP, limiter) == "given"
    assert limiter.asked == [("mirror.example", 0), ("registry.example", 0)]


async def test_the_registrys_own_word_is_not_waited_for_either() -> None:
    limiter = Limiter(limited(2), UpstreamMissing("not here"))
    with pytest.raises(UpstreamMissing):
        await upstreams(2).ask(APP, limiter)
    assert limiter.times == [0, 0]


async def test_many_that_are_refused_at_once_are_one_refusal() -> None:
    """Fifty requests that met one limit made an hour of a minute."""
    asked, gate = upstreams(), asyncio.Event()

    async def refuse(_endpoint: Endpoint) -> None:
        await gate.wait()
        raise limited()

    asyncio.get_running_loop().call_later(1, gate.set)
    refusals = await asyncio.gather(*(asked.ask(APP, refuse, waits=False) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(refusal, UpstreamLimited) for refusal in refusals)
    await asyncio.sleep(1)
    assert await asked.ask(APP, Limiter(), waits=False) == "given"
