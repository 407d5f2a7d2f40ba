"""No fault of agents, containerds, disks and networks makes a pull fail, or fail twice where containerd itself died."""

from __future__ import annotations

import asyncio
import os
import signal
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from e2e.faults.field import MORTAL
from e2e.faults.full_disk import full_directory_agent
from e2e.faults.holder import settled
from e2e.faults.outcome import Outcome, Pull
from lab.cluster import ORIGIN
from lab.faults.characters import CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.faults.field import Field
    from e2e.faults.puller import Puller
    from lab.images import Image

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

LIMIT_SECONDS = 45
EVERYBODY_BAD = [name for name in CHARACTERS if name not in {"good", "corrupts-large", *MORTAL}]
# Gives 600 KiB a second: a body of it lasts for ten, long enough to be in the middle of.
LONG_LASTING = "sluggish"
# More than two of the windows in which a source is judged (FLOOR_WINDOW_SECONDS).
STANDS_STILL_SECONDS = 12


def reference(image: Image) -> str:
    return f"{ORIGIN}/faults/{image.tag}:{image.tag}"


async def each(
    field: Field,
    put_down: Callable[[Outcome], None],
    fault: str,
    company: str,
    act: Callable[[Puller], Awaitable[Pull]],
) -> None:
    """Let every node do the same at once, clean up, and put down what became of it."""
    image = field.images[2]
    pulls = await asyncio.gather(*(act(puller) for puller in field.pullers))
    for puller in field.pullers:
        await puller.forget(reference(image), image)
    names = [puller.name for puller in field.pullers]
    put_down(Outcome(fault, company, LIMIT_SECONDS, tuple(zip(names, pulls, strict=True))))


async def wait_mid_body(puller: Puller) -> None:
    """Return when its containerd has received the beginning of a large layer."""

    async def has_begun() -> bool:
        return any(puller.ingests().values())

    await settled(has_begun, f"{puller.name} receives nothing")


async def test_all_peers_are_bad_at_once(field: Field, put_down: Callable[[Outcome], None]) -> None:
    async def pull(puller: Puller) -> Pull:
        await puller.know(*(field.peer(name, puller, accompanied=False) for name in EVERYBODY_BAD))
        return await puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS)

    await each(field, put_down, f"{len(EVERYBODY_BAD)} peers, a fault each, all at once", "the origin", pull)


async def test_a_peer_dies_and_comes_back_during_the_pull(field: Field, put_down: Callable[[Outcome], None]) -> None:
    async def pull(puller: Puller) -> Pull:
        await puller.mortal.revive()
        await puller.know(puller.mortal.address(MORTAL.index("dies")))
        pulling = asyncio.create_task(puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS))

        async def has_died() -> bool:
            return not puller.mortal.is_running()

        await settled(has_died, "the peer was never asked")
        await puller.mortal.revive()
        return await pulling

    await each(field, put_down, "a peer is killed in the middle of a blob and started again", "the origin", pull)


async def test_the_agent_is_killed_while_it_relays_and_started_again(
    field: Field, put_down: Callable[[Outcome], None]
) -> None:
    async def pull(puller: Puller) -> Pull:
        await puller.know(field.peer(LONG_LASTING, puller, accompanied=True))
        pulling = asyncio.create_task(puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS))
        await wait_mid_body(puller)
        await puller.agent.kill()
        await puller.agent.start()
        return await pulling

    await each(field, put_down, "the agent is killed in the middle of a blob and started again", "the origin", pull)


async def test_the_agent_stands_still_while_it_relays(field: Field, put_down: Callable[[Outcome], None]) -> None:
    """Its source is not to blame: its bytes wait for the agent, and it gives the rest."""
    field.cluster.origin.forget_requests()

    async def pull(puller: Puller) -> Pull:
        await puller.know(field.peer(LONG_LASTING, puller, accompanied=True))
        pulling = asyncio.create_task(puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS))
        await wait_mid_body(puller)
        os.kill(puller.agent.process.pid, signal.SIGSTOP)
        await asyncio.sleep(STANDS_STILL_SECONDS)
        os.kill(puller.agent.process.pid, signal.SIGCONT)
        return await pulling

    fault = f"the agent stands still (SIGSTOP) for {STANDS_STILL_SECONDS} s in the middle of a blob"
    await each(field, put_down, fault, "that peer", pull)
    # A layer that had no first byte yet may come from the origin: its time for that is over (first_byte_timeout).
    blobs = [access for access in field.cluster.origin.requests() if access.is_blob_transfer]
    assert not [access for access in blobs if access.status == HTTPStatus.PARTIAL_CONTENT]


async def test_containerd_is_restarted_while_it_pulls(field: Field, put_down: Callable[[Outcome], None]) -> None:
    async def pull(puller: Puller) -> Pull:
        await puller.know(field.peer(LONG_LASTING, puller, accompanied=True))
        pulling = asyncio.create_task(puller.pull(reference(field.images[2]), tries=2, timeout=LIMIT_SECONDS))
        await wait_mid_body(puller)
        await puller.node.containerd.kill()
        await puller.node.containerd.start()
        await puller.agent.process.wait_ready(puller.agent.is_ready)
        pull = await pulling
        await puller.drop_leases()
        return pull

    await each(field, put_down, "containerd is killed in the middle of a pull and started again", "the origin", pull)


async def test_discovery_is_gone(field: Field, put_down: Callable[[Outcome], None]) -> None:
    async def pull(puller: Puller) -> Pull:
        await puller.know(field.peer("good", puller, accompanied=False))
        puller.peers_file.unlink()
        pull = await puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS)
        puller.peers_file.touch()
        return pull

    field.cluster.origin.forget_requests()
    await each(field, put_down, "the file that names the peers is removed", "a good peer", pull)
    blobs = [access for access in field.cluster.origin.requests() if access.is_blob_transfer]
    assert not blobs, "the last known peers were not asked any more"


async def test_the_directory_of_a_peer_is_full(field: Field, put_down: Callable[[Outcome], None]) -> None:
    """It takes nothing in any more, says so, and gives what it has."""
    async with full_directory_agent(field) as giver:

        async def pull(puller: Puller) -> Pull:
            await puller.know(giver.address)
            return await puller.pull(reference(field.images[2]), tries=1, timeout=LIMIT_SECONDS)

        field.cluster.origin.forget_requests()
        await each(field, put_down, "a peer whose store's disk is full", "that peer", pull)
    blobs = [access for access in field.cluster.origin.requests() if access.is_blob_transfer]
    assert not blobs, "the full peer did not give what it has"
