"""What containerd is going to want, as far as manifests and its requests tell: in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.fetch.pulls import Pulls
from registryd.content.growing import GrowingContent
from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from tests.cluster.receiving import MIB, OwnStore, layer, manifest
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.looptime

IMAGE, OTHER_IMAGE = Digest.of(b"an image"), Digest.of(b"another image")
SIZES = (3 * MIB, 20 * MIB, 1000)


def make(*, lines_up: bool | None = None, sizes: Sequence[int] = SIZES) -> tuple[Pulls, OwnStore]:
    """A pull of which the manifest is known; containerd has asked for its first layer if it is said how it asks."""
    own = OwnStore()
    pulls = Pulls(own)
    pulls.learn(sought(IMAGE), manifest(*sizes))
    if lines_up is not None:
        own.begin(layer(0), sizes[0])
        pulls.asked(layer(0), lines_up=lines_up)
    return pulls, own


async def expected(pulls: Pulls) -> list[int]:
    """The numbers of the layers that containerd is expected to fetch."""
    return [number for number in range(len(SIZES)) if await pulls.expects(layer(number))]


# What is expected


async def test_all_that_a_manifest_names_is_expected_for_a_moment() -> None:
    pulls, _ = make()
    assert await pulls.expects(layer(1)) == GrowingContent(layer(1), SIZES[1], None, 0)
    assert await expected(pulls) == [0, 1, 2]
    await asyncio.sleep(2)
    assert await expected(pulls) == []


async def test_of_a_containerd_that_begins_with_all_what_has_not_begun_is_not_wanted() -> None:
    pulls, own = make(lines_up=True)
    own.begin(layer(1), SIZES[1])
    assert await expected(pulls) == [0, 1, 2]  # it takes a moment to begin with all
    await asyncio.sleep(2)
    assert await expected(pulls) == [0, 1]


async def test_of_one_that_begins_in_order_what_is_behind_is_expected_as_long_as_something_comes() -> None:
    pulls, own = make(lines_up=False)
    for _ in range(10):
        await asyncio.sleep(10)
        own.grow(layer(0), 1000)
        assert await expected(pulls) == [0, 1, 2]
    await asyncio.sleep(20)
    assert await expected(pulls) == []


async def test_of_one_that_begins_in_order_what_was_passed_over_is_not_expected() -> None:
    pulls, own = make(lines_up=False)
    own.begin(layer(2), SIZES[2])
    await asyncio.sleep(2)
    assert await expected(pulls) == [0, 2]


async def test_what_is_whole_is_not_expected_and_neither_is_what_nobody_named() -> None:
    pulls, own = make(lines_up=True)
    own.commit(layer(0))
    assert await pulls.expects(layer(0)) is None
    assert await pulls.expects(layer(99)) is None
    assert not pulls.knows(layer(99))


async def test_what_has_begun_is_expected_until_nothing_of_its_image_moves() -> None:
    pulls, own = make(lines_up=True)
    own.begin(layer(1), SIZES[1])
    for _ in range(10):
        await asyncio.sleep(10)
        own.grow(layer(0), 1)
        assert await pulls.expects(layer(1))
    await asyncio.sleep(14)
    assert await pulls.expects(layer(1))
    await asyncio.sleep(3)
    assert await pulls.expects(layer(1)) is None


async def test_what_was_left_behind_by_a_containerd_that_died_is_not_expected_for_ever() -> None:
    pulls, _ = make(lines_up=True)
    await asyncio.sleep(20)
    assert await expected(pulls) == []
    await asyncio.sleep(100)
    assert list(pulls.current()) == []


async def test_where_ingests_cannot_be_seen_nothing_is_expected_but_for_a_moment() -> None:
    pulls, own = make()
    own.is_unreadable = True
    assert await expected(pulls) == [0, 1, 2]
    await asyncio.sleep(2)
    assert await expected(pulls) == []
    assert not await pulls.is_moving(layer(0))


async def test_that_something_moves_is_not_looked_for_with_every_question() -> None:
    sizes = [5 * MIB] * 40
    pulls, own = make(lines_up=False, sizes=sizes)
    await asyncio.sleep(60)
    own.grow(layer(0), 1)
    own.looks = 0
    for number in range(40):
        assert await pulls.expects(layer(number))
    assert own.looks < 40 * 41  # what was passed over has to be looked for
    own.begin(layer(39), sizes[39])
    own.looks = 0
    for _ in range(100):
        assert await pulls.expects(layer(39))
    assert own.looks <= 200


# Images


async def test_an_image_is_current_while_its_layers_are_asked_for() -> None:
    pulls, _ = make()
    await asyncio.sleep(50)
    pulls.asked(layer(1), lines_up=True)
    await asyncio.sleep(50)
    assert [pull.blobs[0].digest for pull in pulls.current()] == [layer(0)]
    await asyncio.sleep(20)
    assert list(pulls.current()) == []


async def test_what_is_told_once_for_a_pull_is_not_forgotten_when_its_manifest_is_read_again() -> None:
    pulls, _ = make(lines_up=False)
    (pull,) = pulls.current()
    pull.intended.add(layer(1))
    await asyncio.sleep(10)
    pulls.learn(sought(IMAGE), manifest(*SIZES), is_first=True)
    (again,) = pulls.current()
    assert (again.intended, again.asked_at, again.is_first) == ({layer(1)}, 0.0, True)
    await asyncio.sleep(61)
    pulls.learn(sought(IMAGE), manifest(*SIZES))
    (later,) = pulls.current()
    assert (later.intended, later.asked_at, later.is_first) == (set(), None, False)


async def test_an_image_that_is_pulled_again_at_once_is_expected_as_the_first_time() -> None:
    pulls, own = make(lines_up=True)
    own.give_up(layer(0))
    await asyncio.sleep(10)
    assert await expected(pulls) == []
    pulls.learn(sought(IMAGE), manifest(*SIZES))
    assert await expected(pulls) == [0, 1, 2]


async def test_a_layer_of_two_images_is_expected_for_the_one_that_is_being_pulled() -> None:
    pulls, own = make(lines_up=True)
    own.begin(layer(1), SIZES[1])
    pulls.learn(sought(OTHER_IMAGE), manifest(SIZES[0]))
    for _ in range(3):
        await asyncio.sleep(10)
        own.grow(layer(1), 1)
    assert await pulls.expects(layer(0))  # no more comes of the other image
    pulls.asked(layer(0), lines_up=True)
    assert [pull.seen_at for pull in pulls.current()] == [30.0, 30.0]


async def test_a_layer_of_two_images_is_still_known_when_one_is_forgotten() -> None:
    pulls, _ = make()
    for number in range(500):
        pulls.learn(sought(Digest.of(f"{number}".encode())), manifest(SIZES[0]))
        if number == 250:
            pulls.learn(sought(IMAGE), manifest(*SIZES))
    assert pulls.knows(layer(0))
    assert pulls.knows(layer(1))
    for number in range(300):
        pulls.learn(sought(Digest.of(f"later {number}".encode())), manifest(SIZES[0]))
    assert pulls.knows(layer(0))
    assert not pulls.knows(layer(1))
    assert len(pulls._of[layer(0)]) == 500


async def test_an_image_may_name_a_layer_twice() -> None:
    pulls = Pulls(OwnStore())
    twice = Manifest(OCI_MANIFEST, (*manifest(*SIZES).children, *manifest(*SIZES).children))
    for _ in range(2):
        pulls.learn(sought(IMAGE), twice)
        assert await expected(pulls) == [0, 1, 2]
    for number in range(600):
        pulls.learn(sought(Digest.of(f"{number}".encode())), manifest(1))
    assert not pulls.knows(layer(1))


async def test_what_has_no_layers_is_no_image() -> None:
    pulls = Pulls(OwnStore())
    pulls.learn(sought(IMAGE), Manifest(OCI_INDEX, (Descriptor(OCI_MANIFEST, OTHER_IMAGE, 500),)))
    pulls.learn(sought(IMAGE), Manifest(OCI_MANIFEST, ()))
    assert list(pulls.current()) == []


async def test_of_an_absurd_number_of_layers_the_first_are_known() -> None:
    pulls = Pulls(OwnStore())
    pulls.learn(sought(IMAGE), manifest(*[MIB] * 5000))
    (pull,) = pulls.current()
    assert len(pull.blobs) == 512
    assert pulls.knows(layer(511))
    assert not pulls.knows(layer(512))


async def test_it_is_told_of_an_image_and_of_its_first_request() -> None:
    told: list[None] = []
    pulls = Pulls(OwnStore(), lambda: told.append(None))
    pulls.learn(sought(IMAGE), manifest(*SIZES))
    assert len(told) == 1
    pulls.asked(layer(0), lines_up=True)
    pulls.asked(layer(1), lines_up=True)
    assert len(told) == 2


# Waiting for something to begin


async def test_who_waits_is_woken_by_the_next_change_and_by_one_that_came_before() -> None:
    pulls, _ = make()
    seen = pulls.arrivals
    waiting = [asyncio.create_task(pulls.wait_arrivals(seen)) for _ in range(3)]
    await asyncio.sleep(1)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    pulls.arrivals_changed()
    await asyncio.wait(waiting)
    assert waiting[0].cancelled()
    await pulls.wait_arrivals(seen)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pulls.wait_arrivals(pulls.arrivals), 1)
