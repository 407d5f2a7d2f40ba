"""Trial images follow from their words, are offered for a minute, and are given like any other content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from registryd.content.offered import OfferedStore
from registryd.content.source import ContentNotFound
from registryd.content.trial import TooManyTrials, TrialImage, Trials, TrialWords
from registryd.oci.manifest import parse_manifest
from registryd.oci.ranges import Span
from registryd.transfer.memory import read_all
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from registryd.oci.digest import Digest

WORDS = TrialWords("a-word", "arm64")


def test_the_same_words_make_the_same_image_and_others_another() -> None:
    image = TrialImage.of(WORDS)
    assert image == TrialImage.of(WORDS)
    assert image.manifest != TrialImage.of(TrialWords("b-word", "arm64")).manifest
    assert image.layer != TrialImage.of(TrialWords("b-word", "arm64")).layer
    assert all(digest.verifies(data) for digest, (_, data) in image.content.items())


def test_it_is_an_image() -> None:
    image = TrialImage.of(WORDS)
    config, layer = parse_manifest(image.content[image.manifest][1]).children
    assert layer.size == len(image.content[image.layer][1]) > 1 << 20
    document = json.loads(image.content[config.digest][1])
    assert (document["architecture"], document["os"]) == ("arm64", "linux")
    assert document["rootfs"]["diff_ids"] == [str(layer.digest)]


async def set_nothing_aside(_: Digest) -> None:
    raise AssertionError("nothing was withdrawn")


async def test_it_is_given_while_it_is_offered() -> None:
    trials = Trials()
    store = OfferedStore(MemorySource(), trials, set_aside=set_nothing_aside)
    image = TrialImage.of(WORDS)
    with pytest.raises(ContentNotFound):
        await store.find(image.layer)
    trials.offer(WORDS)
    content = await store.find(image.manifest)
    assert content.media_type == "application/vnd.oci.image.manifest.v1+json"
    opened = await store.open(image.layer, lambda _: Span(10, 20))
    assert await read_all(opened.body, limit=10) == image.content[image.layer][1][10:20]


@pytest.mark.looptime
async def test_it_is_gone_after_a_minute() -> None:
    import asyncio  # noqa: PLC0415

    trials = Trials()
    image = trials.offer(WORDS)
    await asyncio.sleep(59)
    assert trials.get(image.manifest)
    await asyncio.sleep(2)
    assert trials.get(image.manifest) is None


async def test_there_are_only_so_many() -> None:
    trials = Trials()
    for number in range(4):
        trials.offer(TrialWords(str(number), "amd64"))
    trials.offer(TrialWords("0", "amd64"))
    with pytest.raises(TooManyTrials):
        trials.offer(WORDS)
