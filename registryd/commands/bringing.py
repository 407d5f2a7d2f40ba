"""Pulls of which this node's agent is told that nobody waits for them."""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from registryd.content.background import LONGEST_LEASE
from registryd.doctor.asking import Question, Unanswered, ask
from registryd.oci.reference import parse_full_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.inventory.pulling import Puller
    from registryd.notation import Address
    from registryd.oci.reference import Repository
    from registryd.store.containerd.pulling import PullSecret

_log = logging.getLogger(__name__)

_JSON: Final = (("Content-Type", "application/json"),)


class BringingPuller:
    """Another puller. Where no agent answers, or one of another version, it pulls all the same."""

    def __init__(self, puller: Puller, agent: Address) -> None:
        """`agent`: its admin port."""
        self._puller = puller
        self._agent = agent
        self._count: Counter[Repository] = Counter()

    async def size_of(self, name: str) -> int | None:
        return await self._puller.size_of(name)

    async def pull(self, name: str, secret: PullSecret | None) -> None:
        async with self._announced(parse_full_name(name).repository):
            await self._puller.pull(name, secret)

    @asynccontextmanager
    async def _announced(self, repository: Repository) -> AsyncIterator[None]:
        self._count[repository] += 1
        await self._tell(repository, LONGEST_LEASE)
        try:
            yield
        finally:
            self._count[repository] -= 1
            if not self._count[repository]:
                await self._tell(repository, 0)

    async def _tell(self, repository: Repository, seconds: float) -> None:
        if problem := await tell_background(self._agent, repository, seconds):
            _log.debug("the agent was not told of a pull in the background: %s", problem)


async def tell_background(agent: Address, repository: Repository, seconds: float) -> str:
    """Tell the agent that nobody waits for pulls of a repository, for so long (0: no more); why it does not know."""
    body = json.dumps({"repository": str(repository), "seconds": seconds}).encode()
    try:
        answer = await ask(agent, Question("/background", "POST", _JSON, body))
    except Unanswered as reason:
        return str(reason)
    if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
        return f"{answer.status} {answer.body[:200].decode(errors='replace').strip()}"
    return ""
