"""What is remembered of "anyone may pull this", for how long, and at whose expense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.errors import UpstreamBroken, UpstreamDenied, UpstreamMissing
from registryd.upstream.public import Verdict, open_public_repositories
from tests.upstream.views import FakeView, gone, limited, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.upstream.public import PublicRepositories

pytestmark = pytest.mark.looptime

HUB = Registry("docker.io")
ALPINE = Repository(HUB, "library/alpine")
V1, V2 = Tag("v1"), Tag("v2")
MINUTE, HOUR = 60, 3600


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def public(view: FakeView) -> AsyncIterator[PublicRepositories]:
    async with open_public_repositories(view) as public:
        yield public


async def settle() -> None:
    """Let what goes on in the background come to its end."""
    await asyncio.sleep(25)


async def test_public_holds_for_a_day_and_is_renewed_by_who_uses_it(public: PublicRepositories, view: FakeView) -> None:
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    await asyncio.sleep(17.9 * HOUR)
    assert await public.check(ALPINE, V2) is Verdict.PUBLIC
    assert len(view.heads) == 1, "the repository is public, whatever the tag"
    await asyncio.sleep(0.2 * HOUR)
    begun = now()
    assert await public.check(ALPINE, V2) is Verdict.PUBLIC
    assert now() == begun, "renewed in the background"
    await settle()
    assert [reference for _, _, reference in view.heads] == [V1, V2]
    await asyncio.sleep(17 * HOUR)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert len(view.heads) == 2, "35 hours after the first, 17 after the second"


async def test_public_ends_after_a_day_without_use(public: PublicRepositories, view: FakeView) -> None:
    await public.check(ALPINE, V1)
    await asyncio.sleep(24 * HOUR)
    view.failure = lambda: UpstreamDenied("private now")
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC


async def test_not_public_holds_for_ten_minutes(public: PublicRepositories, view: FakeView) -> None:
    view.failure = lambda: UpstreamDenied("no")
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC
    view.failure = None
    await asyncio.sleep(9.9 * MINUTE)
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC
    await asyncio.sleep(0.2 * MINUTE)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC


async def test_a_renewal_that_is_denied_ends_it_at_once(public: PublicRepositories, view: FakeView) -> None:
    await public.check(ALPINE, V1)
    await asyncio.sleep(19 * HOUR)
    view.failure = lambda: UpstreamDenied("private now")
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    await settle()
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC


# The upstream is away


async def test_the_last_word_is_kept_for_a_week_while_it_is_away(public: PublicRepositories, view: FakeView) -> None:
    await public.check(ALPINE, V1)
    view.failure = gone
    await asyncio.sleep(6.9 * 24 * HOUR)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    await asyncio.sleep(0.2 * 24 * HOUR)
    assert await public.check(ALPINE, V1) is Verdict.UNKNOWN


async def test_away_and_never_asked_is_unknown(public: PublicRepositories, view: FakeView) -> None:
    view.failure = gone
    assert await public.check(ALPINE, V1) is Verdict.UNKNOWN


async def test_a_dead_upstream_delays_only_the_first(public: PublicRepositories, view: FakeView) -> None:
    view.failure, view.delay = gone, 10
    assert await public.check(ALPINE, V1) is Verdict.UNKNOWN
    assert now() == 2
    await asyncio.sleep(9)
    for number in range(20):
        begun = now()
        await public.check(Repository(HUB, f"library/{number}"), V1)
        assert now() == begun
        await asyncio.sleep(10)
    assert 4 <= len(view.heads) <= 10, "it is asked again in the background, more and more seldom"


async def test_it_is_asked_again_when_it_is_back(public: PublicRepositories, view: FakeView) -> None:
    view.failure = gone
    await public.check(ALPINE, V1)
    await asyncio.sleep(6)
    view.failure = None
    await public.check(ALPINE, V1)
    await settle()
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC


# The upstream is there, and of no help


async def test_what_was_pulled_right_after_an_outage_is_asked_about_when_it_may_be(
    public: PublicRepositories, view: FakeView
) -> None:
    view.failure = gone
    assert await public.check(ALPINE, V1) is Verdict.UNKNOWN
    await asyncio.sleep(1)
    view.failure = None  # back, and nobody but containerd knows
    other = Repository(HUB, "library/busybox")
    await public.learn(other, V2)
    assert not public.remembers_public(other), "left alone for five seconds after a failure"
    await asyncio.sleep(6)
    assert public.remembers_public(other)
    assert public.remembers_public(ALPINE), "nor is the question forgotten that found it gone"
    assert len(view.heads) == 3


async def test_a_question_is_kept_for_an_hour(public: PublicRepositories, view: FakeView) -> None:
    view.failure = gone
    await public.learn(ALPINE, V1)
    await asyncio.sleep(2 * HOUR)
    asked = [when for when, _, _ in view.heads]
    assert 55 * MINUTE < asked[-1] < 61 * MINUTE
    assert len(asked) < 90, "a minute between questions, less a fifth by chance"
    view.failure = None
    await asyncio.sleep(HOUR)
    assert not public.remembers_public(ALPINE)


async def test_a_question_too_many_is_asked_later(public: PublicRepositories, view: FakeView) -> None:
    repositories = [Repository(HUB, f"library/number-{number}") for number in range(100)]
    for repository in repositories:
        await public.learn(repository, V1)
    await asyncio.sleep(30)
    assert all(public.remembers_public(repository) for repository in repositories)


async def test_a_limit_changes_no_word_and_is_respected(public: PublicRepositories, view: FakeView) -> None:
    await public.check(ALPINE, V1)
    await asyncio.sleep(30 * HOUR)
    view.failure = limited(300)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert len(view.heads) == 2
    await asyncio.sleep(299)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert await public.check(Repository(HUB, "library/other"), V1) is Verdict.UNKNOWN
    assert len(view.heads) == 2, "the whole registry is left alone"
    await asyncio.sleep(2)
    view.failure = None
    await public.check(ALPINE, V1)
    assert len(view.heads) == 3


@pytest.mark.parametrize(("retry_after", "quiet"), [(0, 1), (10**9, 3600), (None, 60)])
async def test_how_long_a_limit_is_respected(
    public: PublicRepositories, view: FakeView, retry_after: float | None, quiet: float
) -> None:
    view.failure = limited(retry_after)
    await public.check(ALPINE, V1)
    await asyncio.sleep(quiet * 0.75)  # without Retry-After, a fifth of the pause is left to chance
    await public.check(ALPINE, V1)
    assert len(view.heads) == 1
    await asyncio.sleep(quiet * 0.3)
    await public.check(ALPINE, V1)
    assert len(view.heads) == 2


async def test_a_missing_manifest_says_nothing_of_its_repository(public: PublicRepositories, view: FakeView) -> None:
    view.failure = lambda: UpstreamMissing("no such tag")
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC
    assert await public.check(ALPINE, V1) is Verdict.NOT_PUBLIC
    assert len(view.heads) == 1
    view.failure = None
    assert await public.check(ALPINE, V2) is Verdict.PUBLIC


@pytest.mark.parametrize("failure", [UpstreamMissing("gone or hidden"), UpstreamBroken("nonsense")])
async def test_an_old_word_is_not_kept_when_the_upstream_is_there_and_does_not_repeat_it(
    public: PublicRepositories, view: FakeView, failure: UpstreamMissing | UpstreamBroken
) -> None:
    await public.check(ALPINE, V1)
    await asyncio.sleep(20 * HOUR)
    view.failure = lambda: failure
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    await settle()
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC, "said within the last day"
    await asyncio.sleep(4 * HOUR)
    assert await public.check(ALPINE, V1) is not Verdict.PUBLIC


# Waiting


async def test_one_question_at_a_time_for_a_repository(public: PublicRepositories, view: FakeView) -> None:
    verdicts = await asyncio.gather(*(public.check(ALPINE, V1) for _ in range(50)))
    assert set(verdicts) == {Verdict.PUBLIC}
    assert len(view.heads) == 1
    assert now() == pytest.approx(0.1)


async def test_nobody_waits_longer_than_two_seconds_and_the_next_one_knows(
    public: PublicRepositories, view: FakeView
) -> None:
    view.delay = 3
    assert await public.check(ALPINE, V1) is Verdict.UNKNOWN
    assert now() == 2
    await asyncio.sleep(1.1)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert len(view.heads) == 1


async def test_a_question_ends_after_twenty_seconds(public: PublicRepositories, view: FakeView) -> None:
    view.delay = 10**6
    await public.check(ALPINE, V1)
    await asyncio.sleep(17.9)
    assert view.cancelled == 0
    await asyncio.sleep(0.2)
    assert view.cancelled == 1


async def test_one_who_goes_away_does_not_end_the_question(public: PublicRepositories, view: FakeView) -> None:
    task = asyncio.create_task(public.check(ALPINE, V1))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.1)
    assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert len(view.heads) == 1


async def test_not_more_than_sixty_four_questions_at_once(public: PublicRepositories, view: FakeView) -> None:
    await asyncio.gather(*(public.check(Repository(HUB, f"library/{number}"), V1) for number in range(100)))
    assert len(view.heads) == 64


async def test_what_is_under_way_at_the_end_is_cancelled(view: FakeView) -> None:
    view.delay = 10
    async with open_public_repositories(view) as public:
        await public.check(ALPINE, V1)
    assert view.cancelled == 1


async def test_a_bug_is_not_hidden_and_ends_nothing(view: FakeView, caplog: pytest.LogCaptureFixture) -> None:
    def bug() -> UpstreamDenied:
        raise ZeroDivisionError

    view.failure = bug
    async with open_public_repositories(view) as public:
        assert await public.check(ALPINE, V1) is Verdict.UNKNOWN
        await asyncio.sleep(1)
        view.failure = None
        await asyncio.sleep(600)
        assert await public.check(ALPINE, V1) is Verdict.PUBLIC
    assert "ZeroDivisionError" in caplog.text


async def test_memory_is_bounded(public: PublicRepositories, view: FakeView) -> None:
    view.delay = 0
    for number in range(4097):
        await public.check(Repository(HUB, f"library/{number}"), V1)
    asked = len(view.heads)
    await public.check(Repository(HUB, "library/4096"), V1)
    assert len(view.heads) == asked
    await public.check(Repository(HUB, "library/0"), V1)
    assert len(view.heads) == asked + 1, "what was used least recently is forgotten"
