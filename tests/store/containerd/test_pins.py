"""Pins are set and let go by their reasons; what somebody else has pinned is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.inventory.pinning import ListPinning, let_go, listed
from registryd.store.containerd.pins import ContainerdPins, PinnedImage, Reason, open_pins, release_pins
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.containerd import FakeContainerd

CRI_LABEL = "io.cri-containerd.pinned"


class AnyContainerd:
    """A CRI that heeds pins."""

    async def is_pinned(self, name: str) -> bool:
        return True


@pytest.fixture
def name(containerd: FakeContainerd) -> str:
    """Of an image that was imported. A pull gives it a name by digest as well, which tests add where they want it."""
    image = oci_image()
    containerd.put_image(str(image.name), image.target)
    return str(image.name)


@pytest.fixture
async def pins(containerd: FakeContainerd) -> AsyncIterator[ContainerdPins]:
    async with open_pins(containerd.socket) as pins:
        yield pins


def label(containerd: FakeContainerd, name: str) -> str:
    return dict(containerd.images["k8s.io"][name].labels).get(CRI_LABEL, "")


async def test_an_image_is_pinned_until_its_last_reason_is_gone(
    containerd: FakeContainerd, pins: ContainerdPins, name: str
) -> None:
    assert await pins.pin(name, Reason.LIST)
    assert await pins.pin(name, Reason.COPIES)
    assert await pins.all() == [PinnedImage(name, dict.fromkeys((Reason.LIST, Reason.COPIES), frozenset({name})))]
    assert await pins.let_go(name, {Reason.LIST})
    assert label(containerd, name) == "pinned"
    assert not await pins.let_go(name, {Reason.LIST})
    assert await pins.let_go(name, {Reason.COPIES})
    assert label(containerd, name) == ""
    assert await pins.all() == []


async def test_what_somebody_else_has_pinned_stays_as_it_is(
    containerd: FakeContainerd, pins: ContainerdPins, name: str
) -> None:
    containerd.images["k8s.io"][name].labels[CRI_LABEL] = "pinned"
    assert await pins.pin(name, Reason.LIST)
    assert await pins.all() == [PinnedImage(name)]
    assert not await pins.let_go(name)
    assert await release_pins(containerd.socket) == 0
    assert label(containerd, name) == "pinned"


async def test_when_the_image_was_updated_is_not_changed(
    containerd: FakeContainerd, pins: ContainerdPins, name: str
) -> None:
    before = containerd.images["k8s.io"][name].updated_at.ToNanoseconds()
    assert await pins.pin(name, Reason.LIST)
    assert containerd.images["k8s.io"][name].updated_at.ToNanoseconds() == before


async def test_the_name_by_digest_is_pinned_and_only_for_what_the_tag_means_now(
    containerd: FakeContainerd, pins: ContainerdPins, name: str
) -> None:
    repository, records = name.rpartition(":")[0], []
    for image in (oci_image(), oci_image(layers=(b"a newer one",))):
        containerd.put_image(name, image.target)
        containerd.put_image(f"{repository}@{image.target.digest}", image.target)
        records.append(f"{repository}@{image.target.digest}")
        assert await pins.pin(name, Reason.LIST)
        assert await pins.all() == [PinnedImage(records[-1], {Reason.LIST: frozenset({name})})]
    assert [label(containerd, record) for record in (name, *records)] == ["", "", "pinned"]
    assert await pins.let_go(name)
    assert await pins.all() == []


async def test_two_tags_of_an_image_are_let_go_one_after_the_other(
    containerd: FakeContainerd, pins: ContainerdPins, name: str
) -> None:
    target, repository = oci_image().target, name.rpartition(":")[0]
    names = [name, f"{repository}:other"]
    for each in (*names, f"{repository}@{target.digest}"):
        containerd.put_image(each, target)
    for each in names:
        await pins.pin(each, Reason.LIST)
    (pinned,) = await pins.all()
    assert pinned.names == {Reason.LIST: frozenset(names)}
    assert await pins.let_go(names[0])
    assert [each.names for each in await pins.all()] == [{Reason.LIST: frozenset({names[1]})}]


async def test_lists_let_go_of_their_own_pins_only(containerd: FakeContainerd, pins: ContainerdPins, name: str) -> None:
    gpu, web = Reason.of_list("gpu"), Reason.of_list("web")
    for reason in (gpu, web, Reason.LIST):
        assert await pins.pin(name, reason)
    assert listed(await pins.all()) == dict.fromkeys((gpu, web, Reason.LIST), frozenset({name}))
    assert listed(await pins.all(), "gpu") == {gpu: frozenset({name})}
    assert await ListPinning(pins, AnyContainerd(), gpu).let_go_others(()) == [name]
    assert await ListPinning(pins, AnyContainerd(), gpu).let_go_others(()) == []
    (pinned,) = await pins.all()
    assert set(pinned.names) == {web, Reason.LIST}
    assert (web.list_name, Reason.LIST.list_name, web.is_list, Reason.COPIES.is_list) == ("web", "", True, False)
    assert await let_go(pins, {name}, {web, Reason.LIST}) == [name]
    assert label(containerd, name) == ""


@pytest.mark.parametrize("name", ["GPU", "a,b", "-a", "a-", "a" * 31, "a\n"])
def test_names_of_lists_are_parts_of_labels(name: str) -> None:
    with pytest.raises(ValueError, match="at most 30"):
        Reason.of_list(name)


async def test_an_image_that_is_not_there_is_not_pinned(pins: ContainerdPins) -> None:
    assert not await pins.pin("docker.io/library/none:1", Reason.LIST)
    assert not await pins.let_go("docker.io/library/none:1")


async def test_all_of_ours_are_released(containerd: FakeContainerd, pins: ContainerdPins, name: str) -> None:
    await pins.pin(name, Reason.COPIES)
    assert await release_pins(containerd.socket) == 1
    assert label(containerd, name) == ""
