"""Connections that say nothing: containerd, probes and members are answered all the same, with 1,024 descriptors.

The agent is a program of its own, because descriptors are a process's.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.lone_agent import LoneAgent, lone_agent
from registryd.oci.digest import Digest
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from registryd.notation import Address

DATA = b"what a node has"
DIGEST = Digest.of(DATA)
DESCRIPTORS = 1024
# Another address of loopback than that of containerd and of members.
STRANGER = "127.0.0.9"
# Before anybody has looked at who connects.
LEAST_OPENED = 16


@pytest.fixture(autouse=True)
def many_descriptors() -> None:
    """For our own ends of the connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"the hard limit of descriptors is {hard} here, and the test's own connections need more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[LoneAgent]:
    async with lone_agent(tmp_path, contents=[(DIGEST, DATA)], descriptors=DESCRIPTORS) as agent:
        yield agent


@contextmanager
def silent(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """So many connections of one stranger that nothing is sent over. Some may have been refused or ended already.

    The stranger's address may be barred meanwhile: then the kernel lets it make no further ones.
    """
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            try:
                opened.append(socket.create_connection((address.host, address.port), 1, source_address=(STRANGER, 0)))
            except TimeoutError:
                break
        assert len(opened) >= LEAST_OPENED
        yield opened
    finally:
        for sock in opened:
            sock.close()


async def first_line(address: Address, target: str) -> str:
    """How a request over a connection of its own is answered, soon."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        line = (await reader.readline()).decode().strip()
        writer.close()
        return line


async def answer_everybody(agent: LoneAgent) -> None:
    blob = f"/v2/demo/app/blobs/{DIGEST}?ns=registry.example"
    for _ in range(3):
        assert await first_line(agent.registry, blob) == "HTTP/1.1 200 OK"
        for probe in ("/livez", "/readyz", "/metrics"):
            assert await first_line(agent.admin, probe) == "HTTP/1.1 200 OK"
    async with asyncio.timeout(30):  # a refused connection is begun again after a second or two
        await a_member_is_answered(agent)


async def a_member_is_answered(agent: LoneAgent) -> None:
    while True:
        async with agent.member() as member:
            try:
                finding = await member.find(sought(DIGEST))
            except Exception:  # noqa: BLE001 - the place may have been taken at that moment
                await asyncio.sleep(0.5)
                continue
        assert finding.content is not None
        assert finding.content.size == len(DATA)
        return


async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    agent = LoneAgent.prepare(tmp_path)
    agent.program = ("prlimit", "--nofile=256:2048", *agent.program)
    try:
        await agent.start()
        limits = Path(f"/proc/{agent.process.pid}/limits").read_text()
    finally:
        await agent.stop()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["2048", "2048"]


async def test_eleven_hundred_at_the_door_of_grpc(agent: LoneAgent) -> None:
    with silent(agent.peers, 1100):
        await answer_everybody(agent)


@pytest.mark.parametrize("door", ["registry", "content", "admin"])
async def test_five_hundred_at_another_door(agent: LoneAgent, door: str) -> None:
    with silent(getattr(agent, door), 512):
        await answer_everybody(agent)


async def test_many_at_all_doors_at_once(agent: LoneAgent) -> None:
    with (
        silent(agent.peers, 1100),
        silent(agent.registry, 512),
        silent(agent.content, 512),
        silent(agent.admin, 512),
    ):
        await answer_everybody(agent)
    agent.process.check_running()
    assert "Traceback" not in (agent.folder / "agent.log").read_text()
