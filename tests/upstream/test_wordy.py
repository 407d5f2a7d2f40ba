"""Servers that send a body for a HEAD, and what that does to the requests after it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from registryd.oci.reference import Tag
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import HeadRefused, UpstreamMissing
from tests.fakes.wordy import WordyUpstream, open_wordy
from tests.upstream.world import APP, IMAGE, LAYER, TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.upstream.client import RegistryClient

CONTENTS = {
    "v1": (IMAGE.target.media_type, IMAGE.manifest),
    str(LAYER): ("application/octet-stream", IMAGE.blobs[LAYER]),
}


@pytest.fixture
async def wordy() -> AsyncIterator[WordyUpstream]:
    async with open_wordy(WordyUpstream(CONTENTS)) as upstream:
        yield upstream


async def test_a_body_that_comes_with_the_head_is_a_head_refused(client: RegistryClient, wordy: WordyUpstream) -> None:
    endpoint = Endpoint.parse(wordy.url)
    with pytest.raises(HeadRefused):
        await client.head_manifest(endpoint, APP, TAG)
    with pytest.raises(HeadRefused):
        await client.head_blob(endpoint, APP, LAYER)
    assert (await client.get_manifest(endpoint, APP, TAG)).data == IMAGE.manifest
    # The first of them twice: what is wrong might have been of an answer before.
    assert wordy.seen == ["HEAD", "HEAD", "HEAD", "GET"]


async def test_a_body_that_comes_after_the_head_spoils_no_other_answer(
    client: RegistryClient, wordy: WordyUpstream
) -> None:
    wordy.late = 0.02
    endpoint = Endpoint.parse(wordy.url)
    for _ in range(5):
        head = await client.head_manifest(endpoint, APP, TAG)
        assert head.size == IMAGE.target.size
        assert (await client.get_manifest(endpoint, APP, TAG)).data == IMAGE.manifest
    # The first connection was used twice; after that each request had one of its own, and nothing was asked twice.
    assert wordy.seen.count("HEAD") + wordy.seen.count("GET") <= 11
    assert wordy.connections == 10


@pytest.mark.parametrize("late", [None, 0.005], ids=["at once", "late"])
async def test_it_is_public_if_it_gives_anyone_the_manifest(
    client: RegistryClient, wordy: WordyUpstream, late: float | None
) -> None:
    wordy.late = late
    anyone = AnonymousClient(client, lambda _: [Endpoint.parse(wordy.url)])
    for _ in range(2):
        assert await anyone.head(APP, TAG)
        with pytest.raises(UpstreamMissing):
            await anyone.head(APP, Tag("v2"))


async def test_a_tidy_server_keeps_its_connections(client: RegistryClient, wordy: WordyUpstream) -> None:
    endpoint = Endpoint.parse(wordy.url)
    for _ in range(3):
        await client.get_manifest(endpoint, APP, TAG)
    assert wordy.connections == 1
    with suppress(HeadRefused):
        await client.head_manifest(endpoint, APP, TAG)
    for _ in range(3):
        await client.get_manifest(endpoint, APP, TAG)
    assert wordy.connections == 1 + 1 + 3
