"""An agent is told whose pulls nobody waits for, and that there are none any more; without one the pulls go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.commands.background import background
from registryd.content.background import LONGEST_LEASE, Background
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

    def brings(self, repository: str, seconds: float) -> None:
        self.seconds.append(seconds)
        self.known.announce(Repository.parse(repository), seconds)

    def priorities(self) -> set[Priority]:
        return {self.known.priority_of(Sought(DIGEST, Repository.parse(name))) for name in NAMES}


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
        assert told.seconds == [LONGEST_LEASE] * 2
        assert told.priorities() == {Priority.BACKGROUND}
        await background(images=[images], agent=str(opened.address), end=True)
        assert told.priorities() == {Priority.PULL}
    assert (
        capsys.readouterr().out == "2 repositories: pulls are in the background\n2 repositories: pulls are as others\n"
    )


async def test_without_an_agent_it_is_no_failure(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    await background(images=[images], agent="127.0.0.1:1")
    assert capsys.readouterr().out == "the agent was told of 0 of 2 repositories, and then not: Connection refused\n"


async def test_an_address_that_is_none_is_one(images: str) -> None:
    with pytest.raises(CommandFailed, match="--agent: "):
        await background(images=[images], agent="here")
