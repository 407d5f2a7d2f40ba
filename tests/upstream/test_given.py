"""Which manifests an upstream gives to anyone: the digest counts, not that its repository is public."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.errors import UpstreamDenied, UpstreamMissing
from registryd.upstream.public import Verdict, open_public_repositories
from tests.upstream.views import FakeView, gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.upstream.public import PublicRepositories

pytestmark = pytest.mark.looptime

APP = Repository(Registry("registry.example"), "demo/app")
OTHER = Repository(Registry("registry.example"), "demo/other")
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
HOUR = 3600


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
async def public(view: FakeView) -> AsyncIterator[PublicRepositories]:
    async with open_public_repositories(view) as public:
        yield public


async def test_each_digest_is_asked_for_once(public: PublicRepositories, view: FakeView) -> None:
    for _ in range(3):
        assert await public.gives(APP, ONE) is Verdict.PUBLIC
    assert await public.gives(APP, TWO) is Verdict.PUBLIC
    assert [reference for _, _, reference in view.heads] == [ONE, TWO]


async def test_that_a_repository_is_public_says_nothing_of_a_digest(public: PublicRepositories, view: FakeView) -> None:
    assert await public.check(APP, Tag("v1")) is Verdict.PUBLIC
    view.failure = lambda: UpstreamMissing("no such manifest")
    assert await public.gives(APP, ONE) is Verdict.NOT_PUBLIC
    assert public.remembers_public(APP), "the repository is as public as before"


async def test_that_one_repository_gives_it_says_nothing_of_another(public: PublicRepositories, view: FakeView) -> None:
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    view.failure = lambda: UpstreamMissing("no such manifest")
    assert await public.gives(OTHER, ONE) is Verdict.NOT_PUBLIC


async def test_the_word_is_kept_while_the_upstream_is_away_and_no_other_is_made_up(
    public: PublicRepositories, view: FakeView
) -> None:
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    view.failure = gone
    await asyncio.sleep(6 * 24 * HOUR)
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    assert await public.gives(APP, TWO) is Verdict.UNKNOWN
    await asyncio.sleep(2 * 24 * HOUR)
    assert await public.gives(APP, ONE) is Verdict.UNKNOWN


async def test_a_repository_that_is_made_private_takes_all_its_digests_along(
    public: PublicRepositories, view: FakeView
) -> None:
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    view.failure = lambda: UpstreamDenied("private now")
    assert await public.gives(APP, TWO) is Verdict.NOT_PUBLIC
    assert await public.gives(APP, ONE) is Verdict.NOT_PUBLIC
    assert not public.remembers_public(APP)


async def test_a_manifest_that_was_removed_is_no_longer_given(public: PublicRepositories, view: FakeView) -> None:
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    view.failure = lambda: UpstreamMissing("removed")
    await asyncio.sleep(19 * HOUR)
    await public.gives(APP, ONE)  # asked again in the background
    await asyncio.sleep(25)
    assert await public.gives(APP, ONE) is Verdict.NOT_PUBLIC


@pytest.mark.parametrize("is_everybodys", [True, False])
async def test_a_word_that_was_given_for_what_only_this_node_shows_is_told_to_nobody(
    public: PublicRepositories, view: FakeView, *, is_everybodys: bool
) -> None:
    view.is_everybodys = is_everybodys
    assert await public.gives(APP, ONE) is Verdict.PUBLIC
    assert public.remembers_public(APP)
    assert public.vouches_for(APP) is is_everybodys
