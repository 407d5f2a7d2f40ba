"""Secrets are replaced while nodes talk; at each step some nodes already have the new file and some do not."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.identity.doors import ANSWER, call, grpc_door, read_tls, tls_door
from tests.identity.parties import NEW, OLD, OTHER, Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.identity.doors import Door

_FILES = {"old": (OLD,), "new,old": (NEW, OLD), "old,new": (OLD, NEW), "new": (NEW,), "three": (OTHER, NEW, OLD)}
_SHARING = [(a, b) for a, b in product(_FILES, repeat=2) if set(_FILES[a]) & set(_FILES[b])]


@pytest.mark.parametrize(("asking", "asked"), _SHARING)
async def test_nodes_that_share_any_secret_understand_each_other(tmp_path: Path, asking: str, asked: str) -> None:
    client = Node.make(tmp_path, "client", *_FILES[asking])
    server = Node.make(tmp_path, "server", *_FILES[asked])
    async with tls_door(server.credentials) as bytes_door, grpc_door(server.credentials) as find_door:
        await _talk(client, bytes_door, find_door)


async def test_a_removed_secret_is_refused_from_then_on(tmp_path: Path) -> None:
    client, server = Node.make(tmp_path, "client", OLD), Node.make(tmp_path, "server", NEW, OLD)
    async with tls_door(server.credentials) as door:
        assert await read_tls(door.port, client.credentials.client_context()) == ANSWER
        server.rotate(NEW)
        with pytest.raises(OSError, match="certificate verify failed"):
            await read_tls(door.port, client.credentials.client_context())
        assert door.seen == 1


async def test_a_client_of_a_removed_secret_is_refused_by_grpc(tmp_path: Path) -> None:
    client, server = Node.make(tmp_path, "client", OLD), Node.make(tmp_path, "server", NEW, OLD)
    async with grpc_door(server.credentials) as door:
        server.rotate(NEW)
        async with client.credentials.open_channel(f"127.0.0.1:{door.port}") as channel:
            with pytest.raises(Exception, match="UNAVAILABLE"):
                await call(channel)
        assert door.seen == 0


async def test_rotation_under_load_fails_nobody(tmp_path: Path) -> None:
    nodes = [Node.make(tmp_path, name, OLD) for name in "abc"]
    talked = 0

    async def keep_talking(client: Node, bytes_door: Door, find_door: Door) -> None:
        nonlocal talked
        while True:
            await _talk(client, bytes_door, find_door)
            talked += 1

    server, *clients = nodes
    async with tls_door(server.credentials) as bytes_door, grpc_door(server.credentials) as find_door:
        load = [asyncio.create_task(keep_talking(client, bytes_door, find_door)) for client in clients]
        for secrets in ((NEW, OLD), (NEW,)):
            for node in nodes:
                node.rotate(*secrets)
                await _wait_for_more(lambda: talked, load)
        for task in load:
            task.cancel()
        results = await asyncio.gather(*load, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert [node.credentials.generation for node in nodes] == [3, 3, 3]


async def test_a_connection_outlives_the_certificate_that_it_was_made_with(tmp_path: Path) -> None:
    client, server = Node.make(tmp_path, "client", OLD), Node.make(tmp_path, "server", OLD)
    async with (
        grpc_door(server.credentials) as door,
        client.credentials.open_channel(f"127.0.0.1:{door.port}") as channel,
    ):
        assert await call(channel) == ANSWER
        server.rotate(NEW)
        assert await call(channel) == ANSWER


async def _talk(client: Node, bytes_door: Door, find_door: Door) -> None:
    assert await read_tls(bytes_door.port, client.credentials.client_context()) == ANSWER
    async with client.credentials.open_channel(f"127.0.0.1:{find_door.port}") as channel:
        assert await call(channel) == ANSWER


async def _wait_for_more(count: Callable[[], int], load: list[asyncio.Task[None]]) -> None:
    # Each client talks a few times more, with connections made after the change.
    enough = count() + 3 * len(load)
    while count() < enough:
        await asyncio.sleep(0)
        assert not any(task.done() for task in load)
