"""What is public is known again after a restart, and nothing is believed that cannot be."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.config.cache import RegistryUpstream
from tests.caching.world import REGISTRY, until
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, answering, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.caching.world import Client, World

IMAGE = oci_image()
DAY = 24 * 3600


@pytest.fixture
async def private(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """An upstream with a public repository, and a cache that has a login for it, so that it must ask."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    async with open_upstream(FakeUpstream(challenge="bearer")) as upstream:
        upstream.add("demo/public", IMAGE)
        world.upstream = upstream
        world.table = RegistryUpstream(username="pull", password_file=password)
        yield world


async def fill(world: World) -> Path:
    """A cache that has been told that the repository is public, and has its image; the file that says so."""
    note = world.root / "public.json"
    async with world.caching() as client:
        assert await status(client) == 200
        await until(note.exists)
    return note


async def status(client: Client) -> int:
    return (await client.get(f"demo/public/manifests/{IMAGE.target.digest}")).status


def said(note: Path, *, ago: float) -> None:
    """Let the upstream's word be so old."""
    document = json.loads(note.read_text())
    document["registries"][REGISTRY]["public"]["demo/public"] = time.time() - ago
    note.write_text(json.dumps(document))


async def test_public_images_are_given_by_a_cache_that_was_restarted_in_an_outage(private: World) -> None:
    note = await fill(private)
    private.upstream.character = answering(503)
    async with private.caching() as client:
        assert await status(client) == 200
    note.unlink()
    async with private.caching() as client:
        assert await status(client) == 404


@pytest.mark.parametrize(("days", "expected"), [(6, 200), (8, 404)])
async def test_a_word_gets_older_while_the_cache_is_away(private: World, days: int, expected: int) -> None:
    said(await fill(private), ago=days * DAY)
    private.upstream.character = answering(503)
    async with private.caching() as client:
        assert await status(client) == expected


async def test_a_word_of_another_address_is_not_the_registrys(private: World) -> None:
    await fill(private)
    async with open_upstream(FakeUpstream(challenge="bearer")) as other:
        other.add("demo/public", IMAGE, public=False)
        private.table = replace(private.table, url=other.url)
        async with private.caching() as client:
            assert await status(client) == 404


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b'{"registries": []}',
        b'{"registries": {"a.example": {"public": 1}}}',
        b'{"registries": {"../..": {}}}',
        b"[" * 100_000,
        b" " * (3 << 20),
    ],
)
async def test_a_damaged_file_is_one_line_and_nothing_known(
    private: World, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    note = await fill(private)
    note.write_bytes(damage)
    caplog.clear()
    caplog.set_level(logging.WARNING)
    async with private.caching() as client:
        [line] = [record.getMessage() for record in caplog.records if "public.json" in record.getMessage()]
        assert "is ignored" in line
        # It is asked again, and the file is written anew.
        assert await status(client) == 200
        await until(lambda: b"demo/public" in note.read_bytes())


@pytest.mark.parametrize("said_at", [True, None, "now", float("inf"), 4e9])
async def test_a_time_that_cannot_be_is_not_believed(private: World, said_at: object) -> None:
    note = await fill(private)
    document = json.loads(note.read_text())
    document["registries"][REGISTRY]["public"]["demo/public"] = said_at
    note.write_text(json.dumps(document))
    private.upstream.character = answering(503)
    async with private.caching() as client:
        assert await status(client) == 404
