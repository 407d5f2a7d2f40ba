"""Pulls of which this node's agent is told that nobody waits for them."""

from __future__ import annotations

import json
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from registryd.content.background import LONGEST_LEASE, Announced
from registryd.doctor.asking import Question, Unanswered, ask
from registryd.oci.reference import parse_full_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from registryd.inventory.pulling import Puller
    from registryd.notation import Address
    from registryd.store.containerd.pulling import PullSecret

_log = logging.getLogger(__name__)

_JSON: Final = (("Content-Type", "application/json"),)


class BringingPuller:
    """Another puller. Where no agent answers, or one of another version, it pulls all the same."""

    def __init__(self, puller: Puller, agent: Address) -> None:
        """`agent`: its admin port."""
        self._puller = puller
        self._agent = agent
        self._by = f"prefetch {secrets.token_hex(8)}"

    async def size_of(self, name: str) -> int | None:
        return await self._puller.size_of(name)

    async def pull(self, name: str, secret: PullSecret | None) -> None:
        image = parse_full_name(name)
        async with self._announced(Announced(image.repository, image.reference, self._by)):
            await self._puller.pull(name, secret)

    @asynccontextmanager
    async def _announced(self, image: Announced) -> AsyncIterator[None]:
        await self._tell(image, LONGEST_LEASE)
        try:
            yield
        finally:
            await self._tell(image, 0)

    async def _tell(self, image: Announced, seconds: float) -> None:
        if problem := await tell_background(self._agent, image, seconds):
            _log.debug("the agent was not told of a pull in the background: %s", problem)


async def tell_background(agent: Address, image: Announced, seconds: float) -> str:
    """Tell the agent that nobody waits for an image, for so long (0: no more); why it does not know."""
    return await _tell(
        agent,
        {"repository": str(image.repository), "reference": str(image.reference), "by": image.by, "seconds": seconds},
    )


async def tell_end(agent: Address, by: str) -> str:
    """Tell the agent that this announcer brings nothing more; why it does not know."""
    return await _tell(agent, {"by": by})


async def _tell(agent: Address, told: Mapping[str, str | float]) -> str:
    body = json.dumps(told).encode()
    try:
        answer = await ask(agent, Question("/background", "POST", _JSON, body))
    except Unanswered as reason:
        return str(reason)
    if answer.status >= 400:  # noqa: PLR2004 - HTTP's errors
        return f"{answer.status} {answer.body[:200].decode(errors='replace').strip()}"
    return ""
