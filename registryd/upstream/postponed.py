"""Questions that came while their registry had to be left alone: asked as soon as the registry may be asked again.

A pull right after an outage goes to a registry that this node still believes to be gone. No pull asks about that
repository again for as long as the node has the image, so a question that is left out would be lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.aio.scope import Scope
    from registryd.oci.reference import Reference, Registry, Repository

    Ask = Callable[[Repository, Reference], Awaitable[bool]]

# As many as the registries that are remembered; a node that starts in an outage pulls some tens of images.
_MOST: Final = 256
# The longest time for which a registry is left alone (`contact`). As long as a pull fails it is tried again, every five
# minutes at least by a kubelet, and the question is asked anew.
_WAITS_SECONDS: Final = 3600.0
# Between questions that were put off without a reason to leave the registry alone.
_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Question:
    reference: Reference
    put_at: float


class Postponed:
    """The questions that are still to be asked, one at a time for each registry.

    `ask` returns whether the registry answered the question; `quiet_for` is for how many seconds a registry is to be
    left alone.
    """

    def __init__(
        self, scope: Scope, ask: Ask, *, quiet_for: Callable[[Registry], float], clock: Callable[[], float]
    ) -> None:
        self._scope = scope
        self._ask = ask
        self._quiet_for = quiet_for
        self._clock = clock
        self._questions: Recent[Repository, _Question] = Recent(_MOST)
        self._asking: set[Registry] = set()

    def put(self, repository: Repository, reference: Reference) -> None:
        """Ask this later. A waiting question keeps its time, so that it is not asked for ever."""
        known = self._questions.get(repository)
        self._questions.put(repository, _Question(reference, known.put_at if known else self._clock()))
        registry = repository.registry
        if registry not in self._asking:
            self._asking.add(registry)
            self._scope.run(lambda: self._ask_all(registry), name=f"postponed questions to {registry}")

    async def _ask_all(self, registry: Registry) -> None:
        try:
            while repository := self._next(registry):
                await asyncio.sleep(max(self._quiet_for(registry), 0.0))
                question = self._questions.get(repository)
                if question is None:
                    continue
                if await self._ask(repository, question.reference):
                    self._questions.drop(repository)
                elif self._quiet_for(registry) <= 0:
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._asking.discard(registry)

    def _next(self, registry: Registry) -> Repository | None:
        """One that is still worth asking; older ones are forgotten."""
        now = self._clock()
        for repository, question in list(self._questions.items()):
            if now - question.put_at > _WAITS_SECONDS:
                self._questions.drop(repository)
            elif repository.registry == registry:
                return repository
        return None
