"""Content is background until the last list that brings it has ended, and a pull as soon as a pod waits for it."""

from __future__ import annotations

import asyncio

import pytest

from registryd.content.background import LONGEST_LEASE, Announced, Background, TooManyAnnounced
from registryd.content.sought import Sought
from registryd.oci.digest import Digest
from registryd.oci.reference import DigestedName, Repository, Tag, TaggedName
from registryd.transfer.allowance import Priority

pytestmark = pytest.mark.looptime

REPOSITORY = Repository.parse("ghcr.io/corp/app")
DIGEST = Digest.of(b"an index")
V1, V2 = Tag("v1"), Tag("v2")
CONTENT = Sought(Digest.of(b"a layer"), REPOSITORY)


def brought(reference: Tag | Digest | None = V1, by: str = "one") -> Announced:
    return Announced(REPOSITORY, reference, by)


def is_background(background: Background) -> bool:
    return background.priority_of(CONTENT) is Priority.BACKGROUND


async def test_two_lists_and_a_copy_bring_the_same_image_and_the_last_one_ends_it() -> None:
    background = Background()
    background.announce(brought(by="one"), 60)
    background.announce(brought(by="two"), 60)
    with background.bringing(TaggedName(REPOSITORY, V1)), background.bringing(TaggedName(REPOSITORY, V1)):
        background.announce(brought(by="one"), 0)
        background.announce(brought(by="two"), 0)
        assert is_background(background)
    assert not is_background(background)
    background.announce(brought(by="one"), 60)
    with background.bringing(DigestedName(REPOSITORY, DIGEST)):
        pass
    assert is_background(background)
    background.end_all("one")
    assert not is_background(background)


async def test_an_announcement_that_is_not_withdrawn_ends_by_itself_and_can_be_renewed() -> None:
    background = Background()
    background.announce(brought(), 60)
    await asyncio.sleep(50)
    background.announce(brought(), 60)
    await asyncio.sleep(50)
    assert is_background(background)
    await asyncio.sleep(11)
    assert not is_background(background)


async def test_each_list_asks_once_and_the_next_to_ask_is_a_pod() -> None:
    background = Background()
    background.announce(brought(by="one"), LONGEST_LEASE)
    background.announce(brought(by="two"), LONGEST_LEASE)
    for _ in range(2):
        background.asked(REPOSITORY, V1)
        assert is_background(background)
    background.announce(brought(by="one"), LONGEST_LEASE)  # again: it does not ask again
    background.asked(REPOSITORY, V1)
    assert not is_background(background)


@pytest.mark.parametrize("reference", [V2, DIGEST])
async def test_a_name_that_nobody_brings_is_a_pods(reference: Tag | Digest) -> None:
    background = Background()
    background.announce(brought(V1), 3600)
    background.asked(REPOSITORY, reference)
    assert not is_background(background)
    # A pull has ended by then.
    await asyncio.sleep(601)
    assert is_background(background)


async def test_a_pod_that_asked_just_before_counts() -> None:
    background = Background()
    background.asked(REPOSITORY, V1)
    with background.bringing(TaggedName(REPOSITORY, V1)):
        background.asked(REPOSITORY, V1)
        assert not is_background(background)
    await asyncio.sleep(61)
    with background.bringing(TaggedName(REPOSITORY, V1)):
        background.asked(REPOSITORY, V1)
        assert is_background(background)


async def test_the_next_list_begins_in_the_background_again() -> None:
    background = Background()
    with background.bringing(TaggedName(REPOSITORY, V1)):
        background.asked(REPOSITORY, V2)
        assert not is_background(background)
    with background.bringing(TaggedName(REPOSITORY, V1)):
        background.asked(REPOSITORY, V1)
        assert is_background(background)


async def test_a_prefetch_of_an_older_version_names_no_image_and_stays_background() -> None:
    background = Background()
    background.announce(brought(None, by=""), 60)
    background.asked(REPOSITORY, V1)
    assert is_background(background)
    background.announce(brought(None, by=""), 0)
    assert not is_background(background)


async def test_other_repositories_and_unnamed_ones_are_pulls() -> None:
    background = Background()
    background.announce(brought(), 60)
    for repository in (Repository.parse("ghcr.io/corp/other"), None):
        assert background.priority_of(Sought(CONTENT.digest, repository)) is Priority.PULL


@pytest.mark.parametrize("seconds", [-1, LONGEST_LEASE + 1, float("nan")])
async def test_nonsense_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds: from 0 to 3600"):
        Background().announce(brought(), seconds)
    with pytest.raises(ValueError, match="by: 200 characters"):
        brought(by="x" * 201)


async def test_announcements_are_bounded_and_expired_ones_make_room() -> None:
    background = Background()
    for number in range(4000):
        background.announce(brought(Tag(f"v{number}")), 60)
    with pytest.raises(TooManyAnnounced):
        background.announce(brought(Tag("one-more")), 60)
    background.announce(brought(Tag("v7")), 60)
    background.announce(brought(Tag("v7")), 0)
    background.announce(brought(Tag("one-more")), 60)
    await asyncio.sleep(61)
    background.announce(brought(Tag("yet-another")), 60)
