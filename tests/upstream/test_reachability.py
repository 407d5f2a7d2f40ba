"""Whether a registry is there, known without asking too often and without waiting for the dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import open_client
from registryd.upstream.endpoint import default_endpoints
from registryd.upstream.errors import UpstreamBroken, UpstreamDenied, UpstreamUnreachable
from registryd.upstream.public import Verdict, open_public_repositories
from tests.upstream.views import FakeView, Mistaken, gone, limited, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.upstream.public import PublicRepositories

pytestmark = pytest.mark.looptime

HUB = Registry("docker.io")


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def public(view: FakeView) -> AsyncIterator[PublicRepositories]:
    async with open_public_repositories(view) as public:
        yield public


async def test_an_answer_holds_for_ten_seconds(public: PublicRepositories, view: FakeView) -> None:
    assert await public.upstream_reachable(HUB)
    await asyncio.sleep(9.9)
    assert await public.upstream_reachable(HUB)
    assert len(view.pings) == 1
    await asyncio.sleep(0.2)
    assert await public.upstream_reachable(HUB)
    assert len(view.pings) == 2


async def test_whatever_it_answers_it_is_there(public: PublicRepositories, view: FakeView) -> None:
    for failure in (UpstreamDenied("no"), UpstreamBroken("nonsense")):
        view.failure = lambda failure=failure: failure
        assert await public.upstream_reachable(HUB)
        await asyncio.sleep(11)


async def test_a_check_is_an_answer_as_well(public: PublicRepositories, view: FakeView) -> None:
    await public.check(Repository(HUB, "library/alpine"), Tag("v1"))
    assert await public.upstream_reachable(HUB)
    assert not view.pings


async def test_a_limit_is_an_answer_and_nothing_is_asked_while_it_lasts(
    public: PublicRepositories, view: FakeView
) -> None:
    view.failure = limited(300)
    assert await public.upstream_reachable(HUB)
    await asyncio.sleep(299)
    assert await public.upstream_reachable(HUB)
    assert len(view.pings) == 1


async def test_one_that_is_gone_delays_nobody_twice(public: PublicRepositories, view: FakeView) -> None:
    view.failure, view.delay = gone, 5
    assert not await public.upstream_reachable(HUB)
    assert now() == 2
    for _ in range(60):
        await asyncio.sleep(10)
        begun = now()
        assert not await public.upstream_reachable(HUB)
        assert now() == begun
    assert len(view.pings) <= 16, "ten minutes: one a minute after the first few"


async def test_too_slow_for_this_pull_is_gone_until_it_answers(public: PublicRepositories, view: FakeView) -> None:
    view.delay = 5
    assert not await public.upstream_reachable(HUB)
    await public.check(Repository(HUB, "library/alpine"), Tag("v1"))
    assert now() == 2, "nobody waits again"
    await asyncio.sleep(3.1)
    assert await public.upstream_reachable(HUB)
    assert len(view.pings) == 1


async def test_one_that_is_back_is_noticed_in_the_background(public: PublicRepositories, view: FakeView) -> None:
    view.failure = gone
    assert not await public.upstream_reachable(HUB)
    view.failure = None
    await asyncio.sleep(6)
    assert not await public.upstream_reachable(HUB), "not asked since"
    await asyncio.sleep(1)
    assert await public.upstream_reachable(HUB)


async def test_an_old_failure_proves_nothing(public: PublicRepositories, view: FakeView) -> None:
    view.failure = gone
    assert not await public.upstream_reachable(HUB)
    view.failure = None
    await asyncio.sleep(121)
    assert await public.upstream_reachable(HUB)


async def test_many_wait_for_one_ping(public: PublicRepositories, view: FakeView) -> None:
    assert all(await asyncio.gather(*(public.upstream_reachable(HUB) for _ in range(20))))
    assert len(view.pings) == 1


async def test_a_question_that_cannot_even_be_asked_is_no_answer_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    view = Mistaken()
    async with open_public_repositories(view) as public:
        assert await public.check(Repository(HUB, "library/alpine"), Tag("v1")) is Verdict.UNKNOWN
        assert not await public.upstream_reachable(HUB)
        await asyncio.sleep(60)
        assert not await public.upstream_reachable(HUB)
    assert "asking docker.io failed" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("host", ["xn--8ix4.example", "a.xn--8ix4:5000"])
async def test_a_host_that_no_resolver_can_look_up_is_one_that_does_not_answer(host: str) -> None:
    async with open_client(clock=now) as client:
        anonymous = AnonymousClient(client, default_endpoints)
        with pytest.raises(UpstreamUnreachable):
            await anonymous.ping(Registry(host))
