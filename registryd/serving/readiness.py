"""Whether the agent can serve right now, asked by probes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import StoreUnavailable

if TYPE_CHECKING:
    from registryd.observability.metrics import Metrics

# The kubelet gives a probe one second by default; a store that takes longer is not ready.
_TIMEOUT_SECONDS: Final = 0.8


class Checked(Protocol):
    """A part that can be asked whether it works."""

    async def check(self) -> None:
        """Return if it does; raises StoreUnavailable with the reason otherwise."""


class Readiness:
    """Not ready until there is a store to watch, and then as ready as the store."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._store: Checked | None = None
        self._lacking = "the agent is starting"

    def watch(self, store: Checked) -> None:
        """Watch the store: from now on only the store decides about readiness."""
        self._store = store

    def lacks(self, what: str) -> None:
        """Not ready any more, for good."""
        self._store, self._lacking = None, what

    async def missing(self) -> str | None:
        """The missing part, in a few words; None when none is missing. Keeps the metric up to date."""
        if self._store is None:
            return self._lacking
        problem = await _problem(self._store)
        self._metrics.store_up(up=problem is None)
        return problem


async def _problem(store: Checked) -> str | None:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await store.check()
    except StoreUnavailable as error:
        return str(error)
    except TimeoutError:
        return f"the store did not answer within {_TIMEOUT_SECONDS:g} s"
    return None
