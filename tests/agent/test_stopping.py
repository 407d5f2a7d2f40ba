"""An agent is told to stop while it sends: what runs comes to its end, and nothing new begins."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.agent.assembly import open_agent
from registryd.agent.running import run
from registryd.config.agent import AdminSettings, PeersSettings, RegistrySettings, Settings, StoreKind, StoreSettings
from registryd.notation import Address
from registryd.oci.descriptor import OCTET_STREAM, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName
from registryd.store.directory.store import open_directory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from registryd.agent.assembly import Agent

LOOPBACK = Address("127.0.0.1", 0)
# More than the buffers of both ends take: it is under way until somebody reads it.
LAYER = os.urandom(1 << 20) * 32
DIGEST = Digest.of(LAYER)
NAME = TaggedName.parse("registry.example/demo/app:v1")


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    """A running agent freezes what is there; in a process of tests that would be everything."""
    yield
    gc.unfreeze()


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    async with open_directory_store(tmp_path / "store") as store:
        ingest = await store.begin(DIGEST)
        await ingest.write(LAYER)
        await ingest.commit()
        await ingest.aclose()
        await store.name({NAME: Descriptor(OCTET_STREAM, DIGEST, len(LAYER))})
    return replace(
        Settings(),
        registry=RegistrySettings(listen=LOOPBACK),
        peers=PeersSettings(listen=LOOPBACK, content_listen=LOOPBACK),
        admin=AdminSettings(listen=LOOPBACK),
        store=StoreSettings(kind=StoreKind.DIRECTORY, directory=tmp_path / "store"),
    )


async def until_refused(address: Address) -> None:
    """Return when nobody listens there any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def test_what_runs_is_sent_to_its_last_byte_after_sigterm(settings: Settings) -> None:
    opened: asyncio.Queue[Agent] = asyncio.Queue()

    @asynccontextmanager
    async def opening(settings: Settings) -> AsyncIterator[Agent]:
        async with open_agent(settings) as agent:
            opened.put_nowait(agent)
            yield agent

    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(settings, opening=opening))
        address = (await opened.get()).registry_address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"GET /v2/demo/app/blobs/{DIGEST}?ns=registry.example HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        os.kill(os.getpid(), signal.SIGTERM)
        await until_refused(address)
        assert not running.done(), "the transfer is waited for"
        assert Digest.of(await reader.readexactly(len(LAYER))) == DIGEST
        writer.close()
        await writer.wait_closed()
        await running


async def test_what_nobody_reads_is_given_up_in_the_end_without_a_reset(settings: Settings) -> None:
    async with open_agent(settings) as agent:
        address = agent.registry_address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"GET /v2/demo/app/blobs/{DIGEST}?ns=registry.example HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await agent.drain(0.05)
    received = await reader.read()
    assert 0 < len(received) < len(LAYER)
    assert LAYER.startswith(received), "what was sent is right, and ends with FIN"
    writer.close()
    await writer.wait_closed()
