"""Having a node's containerd pull a list of images, some at a time, what it has already left out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import ContentUnavailable
from registryd.store.containerd.pulling import PullSecret
from registryd.upstream.credentials import IdentityToken
from registryd.upstream.endpoint import default_endpoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.inventory.lists import ImageName
    from registryd.oci.reference import Repository
    from registryd.upstream.credentials import Login

# Attempts at an image: what was broken off is usually had the second time, and containerd keeps what it has got.
_ATTEMPTS: Final = 3


class Puller(Protocol):
    """A node's containerd. Raises ContentUnavailable."""

    async def size_of(self, name: str) -> int | None:
        """The bytes of an image that is there; None when it is not."""

    async def pull(self, name: str, secret: PullSecret | None) -> None:
        """Return when it is there."""


class Logins(Protocol):
    """Logins for registries."""

    async def login(self, repository: Repository) -> Login | None:
        """None where there is none. Raises ContentUnavailable."""


class Pinning(Protocol):
    """Keeps images from the kubelet's garbage collection. Raises ContentUnavailable."""

    async def pin(self, name: str) -> None:
        """Return when the image that is there is kept."""


class PullProgress(Protocol):
    """Is told how far it has come."""

    def advanced(self, count: int) -> None:
        """So many bytes of images are there."""

    def finished(self, outcome: Pulled) -> None:
        """An image is done."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one image: its bytes, whether it was there before, and why it is not there now."""

    image: ImageName
    size: int = 0
    was_there: bool = False
    problem: str = ""
    is_pinned: bool = False

    @property
    def is_complete(self) -> bool:
        return not self.problem


async def pull_all(  # noqa: PLR0913 - what takes part, all named
    images: Sequence[ImageName],
    puller: Puller,
    progress: PullProgress,
    *,
    logins: Logins | None,
    parallel: int,
    pinning: Pinning | None = None,
) -> Sequence[Pulled]:
    """The outcome of each, in order; with `pinning`, an image is pinned as soon as it is there."""
    slots = asyncio.Semaphore(parallel)

    async def pull_one(image: ImageName) -> Pulled:
        async with slots:
            outcome = await _pull(image, puller, logins)
            if pinning and outcome.is_complete:
                outcome = await _pin(outcome, pinning)
        progress.advanced(outcome.size)
        progress.finished(outcome)
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pull_one(image), name=f"pull {image}") for image in images]
    return [task.result() for task in tasks]


async def _pull(image: ImageName, puller: Puller, logins: Logins | None) -> Pulled:
    name, problem = str(image.pull_name), ""
    for attempt in range(_ATTEMPTS):
        try:
            size = await puller.size_of(name)
            if size is None:
                await puller.pull(name, await secret_for(image.repository, logins))
                return Pulled(image, await puller.size_of(name) or 0)
        except ContentUnavailable as error:
            problem = str(error)
        else:
            return Pulled(image, size, was_there=attempt == 0)
    return Pulled(image, problem=problem)


async def _pin(outcome: Pulled, pinning: Pinning) -> Pulled:
    try:
        await pinning.pin(str(outcome.image.pull_name))
    except ContentUnavailable as error:
        return replace(outcome, problem=f"it is there and not pinned: {error}")
    return replace(outcome, is_pinned=True)


async def secret_for(repository: Repository, logins: Logins | None) -> PullSecret | None:
    """The login to pull from a repository with; None: as anybody. Raises ContentUnavailable."""
    registry = repository.registry
    login = await logins.login(repository) if logins else None
    if login is None:
        return None
    server = str(default_endpoints(registry)[0].root.origin())
    if isinstance(login, IdentityToken):
        return PullSecret(server, identity_token=login.token)
    return PullSecret(server, login.username, login.password)
