"""An agent is told whose pulls nobody waits for, and that there are none any more; without one the pulls go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.commands.background import background
from registryd.commands.bringing import BringingPuller
from registryd.content.background import LONGEST_LEASE, Announced, Background
from registryd.content.sought import Sought
from registryd.failures import CommandFailed
from registryd.notation import Address
from registryd.observability.metrics import Metrics
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository
from registryd.serving.admin import BODIES_AT, AdminDoor
from registryd.serving.listener import open_door
from registryd.transfer.allowance import Priority

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.store.containerd.pulling import PullSecret

DIGEST = Digest.parse(f"sha256:{'a' * 64}")
NAMES = ("docker.io/library/alpine", "ghcr.io/corp/app")


@pytest.fixture
def images(tmp_path: Path) -> str:
    path = tmp_path / "images.txt"
    path.write_text("alpine\nghcr.io/corp/app:v1\nghcr.io/corp/app:v2\n")
    return str(path)


class Told:
    """What the admin door shows: the agent's announcements, and nothing else."""

    def __init__(self) -> None:
        self.known = Background()
        self.seconds: list[float] = []

    async def status(self, *, with_names: bool) -> dict[str, object]:
        return {"names": with_names}

    async def cluster(self, *, with_names: bool) -> dict[str, object]:
        return {"names": with_names}

    async def checkup(self) -> dict[str, object]:
        return {}

    async def begin_trial(self, registry: str) -> dict[str, object]:
        return {"reference": registry}

    def brings(self, announced: Announced, seconds: float) -> None:
        self.seconds.append(seconds)
        self.known.announce(announced, seconds)

    def ends(self, by: str) -> None:
        self.known.end_all(by)

    def priority(self, name: str) -> Priority:
        return self.known.priority_of(Sought(DIGEST, Repository.parse(name)))

    def priorities(self) -> set[Priority]:
        return {self.priority(name) for name in NAMES}


class HeldPuller:
    """Each pull waits until the test lets it go on."""

    def __init__(self) -> None:
        self.go_on: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()

    async def size_of(self, name: str) -> int | None:
        raise AssertionError(name)

    async def pull(self, name: str, secret: PullSecret | None) -> None:
        assert secret is None
        self.go_on[name] = asyncio.Event()
        self._changed.set()
        await self.go_on[name].wait()

    async def wait_pulling(self, count: int) -> None:
        while len(self.go_on) < count:
            self._changed.clear()
            await self._changed.wait()


async def ready() -> None:
    return None


async def test_the_agent_is_told_of_each_repository_until_the_end(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    door = AdminDoor(metrics=Metrics(), not_ready=ready)
    door.show(told)
    async with open_door(door.handle, Address("127.0.0.1", 0), bodies_at=BODIES_AT) as opened:
        await background(images=[images], agent=str(opened.address))
        assert told.seconds == [LONGEST_LEASE] * 3
        assert told.priorities() == {Priority.BACKGROUND}
        await background(images=[images], agent=str(opened.address), end=True)
        assert told.priorities() == {Priority.PULL}
    assert capsys.readouterr().out == "3 images: pulls are in the background\n3 images: pulls are as others\n"


async def test_two_lists_do_not_end_each_other(images: str, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("alpine\nghcr.io/corp/app:v1\n")
    told = Told()
    door = AdminDoor(metrics=Metrics(), not_ready=ready)
    door.show(told)
    async with open_door(door.handle, Address("127.0.0.1", 0), bodies_at=BODIES_AT) as opened:
        agent = str(opened.address)
        await background(images=[images], list_="one", agent=agent)
        await background(images=[str(other)], list_="two", agent=agent)
        await background(images=[images], list_="one", agent=agent, end=True)
        assert told.priorities() == {Priority.BACKGROUND}
        # The list has become shorter, and its pod has been replaced.
        other.write_text("alpine\n")
        await background(images=[str(other)], list_="two", agent=agent)
        assert told.priorities() == {Priority.BACKGROUND, Priority.PULL}
        await background(images=[str(other)], list_="two", agent=agent, end=True)
        assert told.priorities() == {Priority.PULL}


async def test_several_pulls_of_a_repository_end_one_by_one() -> None:
    told = Told()
    door = AdminDoor(metrics=Metrics(), not_ready=ready)
    door.show(told)
    async with open_door(door.handle, Address("127.0.0.1", 0), bodies_at=BODIES_AT) as opened:
        puller = BringingPuller(inner := HeldPuller(), opened.address)
        first = asyncio.create_task(puller.pull("ghcr.io/corp/app:v1", None))
        second = asyncio.create_task(puller.pull("ghcr.io/corp/app:v2", None))
        await inner.wait_pulling(2)
        inner.go_on["ghcr.io/corp/app:v1"].set()
        await first
        assert told.priority("ghcr.io/corp/app") is Priority.BACKGROUND
        inner.go_on["ghcr.io/corp/app:v2"].set()
        await second
        assert told.priority("ghcr.io/corp/app") is Priority.PULL


async def test_without_an_agent_it_is_no_failure(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    await background(images=[images], agent="127.0.0.1:1")
    assert capsys.readouterr().out == "the agent was told of 0 of 3 images, and then not: Connection refused\n"


async def test_an_address_that_is_none_is_one(images: str) -> None:
    with pytest.raises(CommandFailed, match="--agent: "):
        await background(images=[images], agent="here")
