"""Every job that runs in the background of an agent fails in turn, and the agent serves on."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.agent.assembly import open_agent
from registryd.config.agent import (
    AdminSettings,
    AuthorizationMode,
    AuthorizationSettings,
    DiscoverySettings,
    PeersSettings,
    RegistrySettings,
    Settings,
    StoreKind,
    StoreSettings,
)
from registryd.notation import Address
from tests.agent.breaking import Broken, break_task, named_tasks
from tests.fakes.containerd import running_fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from registryd.oci.digest import Digest

LOOPBACK = Address("127.0.0.1", 0)
NOBODY = Address("127.0.0.1", 9)
TOKEN = secrets.token_urlsafe(48)
# Without those of which there is one for each thing that is looked for (tests/aio/test_scope.py breaks these), and
# without the one that follows containerd, which waits for gRPC's own future (tests/store/containerd/test_following.py).
JOBS = (
    "announce",
    "announce names",
    "certificates",
    "keep layers",
    "members",
    "node token",
    f"probe {NOBODY}",
    "second look",
    "take in",
)


async def answer_of(address: Address, digest: Digest) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        f"GET /v2/demo/app/blobs/{digest}?ns=registry.example HTTP/1.1\r\n"
        f"Host: x\r\nRegistryd-Token: {TOKEN}\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@asynccontextmanager
async def settings_of_a_node() -> AsyncIterator[tuple[Settings, Digest]]:
    """A member of a cluster that cannot be reached, with a containerd that has one blob."""
    with tempfile.TemporaryDirectory(prefix="rd") as name:  # short enough for a socket's path
        folder = Path(name)
        secret, token = folder / "secret", folder / "token"
        for path, text in ((secret, secrets.token_urlsafe(48)), (token, TOKEN)):
            path.write_text(f"{text}\n")
            path.chmod(0o600)
        async with running_fake(folder) as containerd:
            digest = containerd.put_blob(b"something that a node has")
            yield (
                replace(
                    Settings(),
                    registry=RegistrySettings(listen=LOOPBACK, token_file=token),
                    peers=PeersSettings(listen=LOOPBACK, content_listen=LOOPBACK, secret_file=secret),
                    admin=AdminSettings(listen=LOOPBACK),
                    authorization=AuthorizationSettings(mode=AuthorizationMode.OPEN),
                    discovery=DiscoverySettings(peers=(NOBODY,)),
                    store=StoreSettings(
                        kind=StoreKind.CONTAINERD,
                        containerd_socket=containerd.socket,
                        containerd_root=folder / "nothing",
                    ),
                ),
                digest,
            )


async def until_all_run() -> None:
    async with asyncio.timeout(30):
        while not named_tasks() >= set(JOBS):  # noqa: ASYNC110 - no event tells of tasks
            await asyncio.sleep(0.02)


async def test_whatever_breaks_in_the_background_costs_a_line_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with settings_of_a_node() as (settings, digest), open_agent(settings) as agent:
        await until_all_run()
        for job in JOBS:
            await break_task(job)
            assert (await answer_of(agent.registry_address, digest)).endswith(b"something that a node has"), job
        await until_all_run()
        broken = [record for record in caplog.records if Broken.__name__ in record.getMessage()]
        for job in JOBS:
            assert any(job in record.getMessage() for record in broken), job
            assert len([record for record in broken if record.getMessage().endswith(f": {job}")]) == 1
