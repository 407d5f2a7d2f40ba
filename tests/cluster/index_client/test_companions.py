"""What a claim says of the content that comes at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from registryd.cluster.index_client.companions import LayerSchedule, Side
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, OCTET_STREAM, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest

pytestmark = pytest.mark.looptime

MIB = 1 << 20
BEFORE = Address("10.0.0.1", 3173)
OWN = Address("10.0.0.2", 3173)
MANIFEST = Digest.of(b"manifest")
CONFIG = Digest.of(b"config")


def layer(number: int) -> Digest:
    return Digest.of(f"layer {number}".encode())


def manifest(count: int) -> Manifest:
    config = Descriptor(OCTET_STREAM, CONFIG, 1000)
    layers = [Descriptor(OCTET_STREAM, layer(number), 20 * MIB) for number in range(count)]
    return Manifest(OCI_MANIFEST, (config, *layers))


def in_a_crowd(count: int = 4) -> LayerSchedule:
    companions = LayerSchedule()
    companions.learn(MANIFEST, manifest(count))
    companions.came_after(BEFORE, MANIFEST)
    return companions


async def test_who_is_alone_or_the_first_says_nothing() -> None:
    companions = LayerSchedule()
    companions.learn(MANIFEST, manifest(4))
    assert companions.side(layer(0), own=OWN) == Side()
    companions.came_after(None, MANIFEST)
    assert companions.side(layer(0), own=OWN) == Side()


async def test_layers_are_claimed_in_the_order_of_their_manifest() -> None:
    companions = in_a_crowd()
    companions.came_after(Address("10.0.0.9", 1), CONFIG)  # a child of it: the order is known already
    assert {companions.side(layer(number), own=OWN).below for number in range(4)} == {BEFORE}
    companions.came_after(Address("10.0.0.9", 1), Digest.of(b"another manifest"))
    assert companions.side(layer(0), own=OWN).below == BEFORE
    assert companions.side(layer(99), own=OWN).below == Address("10.0.0.9", 1)  # it may be of the latest


async def test_a_predecessor_that_does_not_come_is_not_named_again_for_its_image() -> None:
    companions = in_a_crowd()
    companions.came_after(BEFORE, Digest.of(b"another manifest"))
    companions.lose(layer(1))
    assert companions.side(layer(0), own=OWN) == Side()
    assert companions.side(layer(99), own=OWN).below == BEFORE


async def test_an_order_is_forgotten_with_its_rush() -> None:
    companions = in_a_crowd()
    await asyncio.sleep(59)
    assert companions.side(layer(0), own=OWN).below == BEFORE
    await asyncio.sleep(2)
    assert companions.side(layer(0), own=OWN) == Side()


@pytest.mark.parametrize(
    ("count", "places"), [(1, [None]), (2, [0, 2]), (3, [0, 0, 3]), (4, [0, 0, 3, None]), (5, [0, 0, 3, 0, 2])]
)
async def test_each_node_passes_on_one_of_the_layers_that_come_together(count: int, places: list[int | None]) -> None:
    companions = in_a_crowd(count)
    said = [companions.side(layer(number), own=OWN).places for number in range(count)]
    for start in range(0, count, 3):
        assert sorted(map(str, said[start : start + 3])) == sorted(map(str, places[start : start + 3]))


async def test_every_layer_has_as_many_nodes_that_pass_it_on() -> None:
    companions = in_a_crowd(3)
    nodes = [Address(f"10.0.{number >> 8}.{number & 255}", 3173) for number in range(3000)]
    passed_on = Counter(
        number for own in nodes for number in range(3) if companions.side(layer(number), own=own).places
    )
    assert all(900 < passed_on[number] < 1100 for number in range(3))


async def test_of_content_that_no_manifest_named_only_the_order_is_told() -> None:
    assert in_a_crowd().side(layer(99), own=OWN) == Side(BEFORE)


async def test_the_latest_manifests_are_remembered() -> None:
    companions = in_a_crowd(3)
    for number in range(21_000 // 50):
        children = [Descriptor(OCTET_STREAM, Digest.of(f"{number} {i}".encode()), 2 * MIB) for i in range(50)]
        companions.learn(Digest.of(f"{number}".encode()), Manifest(OCI_MANIFEST, tuple(children)))
    assert companions.side(layer(0), own=OWN).places is None


# Several images at a time


async def test_each_image_has_a_line_of_its_own() -> None:
    companions = LayerSchedule()
    other, config = Digest.of(b"another manifest"), Digest.of(b"another configuration")
    companions.came_after(None, MANIFEST, rank=0)
    companions.came_after(BEFORE, other, rank=3)
    companions.learn(MANIFEST, manifest(2))
    companions.learn(other, Manifest(OCI_MANIFEST, (Descriptor(OCTET_STREAM, config, 1000),)))
    assert companions.is_first(MANIFEST)
    assert not companions.is_first(other)
    assert companions.rank(layer(0)) == companions.rank(CONFIG) == 0
    assert companions.rank(config) == 3
    assert companions.side(layer(1), own=OWN).rank == 0


async def test_a_layer_of_two_images_has_the_place_that_the_latest_gives() -> None:
    companions = LayerSchedule()
    other = Digest.of(b"another manifest")
    companions.came_after(None, MANIFEST, rank=0)
    companions.came_after(BEFORE, other, rank=3)
    companions.learn(MANIFEST, manifest(2))
    companions.learn(other, manifest(1))
    assert companions.rank(layer(0)) == 3
    assert companions.rank(layer(1)) == 0


async def test_a_place_in_a_line_is_forgotten_with_it() -> None:
    companions = LayerSchedule()
    companions.learn(MANIFEST, manifest(1))
    assert companions.rank(layer(0)) is None
    companions.came_after(None, MANIFEST, rank=0)
    assert companions.rank(layer(0)) == 0
    await asyncio.sleep(61)
    assert companions.rank(layer(0)) is None
    assert not companions.is_first(MANIFEST)


async def test_what_index_nodes_of_an_older_version_say_makes_nobody_the_first() -> None:
    companions = in_a_crowd()
    assert not companions.is_first(MANIFEST)
    assert companions.rank(layer(0)) is None
