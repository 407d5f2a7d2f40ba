"""Whether registries can be used now: as long as one can, its tags are its own."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.recent import Recent
from registryd.aio.unexpected import note_unexpected
from registryd.upstream.contact import RegistryContact, RegistryState
from registryd.upstream.errors import UpstreamFailed, UpstreamLimited, UpstreamUnreachable
from registryd.upstream.inflight import InFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.aio.scope import Scope
    from registryd.oci.reference import Registry

logger = logging.getLogger(__name__)

# Nodes use a handful of registries; names come from image references, so there is a bound.
_MOST_REGISTRIES: Final = 256
_MOST_PINGS: Final = 16
# A question ends after so long, endpoints, tokens and redirects and all.
QUESTION_TIMEOUT: Final = 20.0


class Answering(Protocol):
    """A registry as far as it answers."""

    async def ping(self, registry: Registry, /) -> None:
        """Return when the registry answers at all. Raises UpstreamFailed."""


class Reachability:
    """Whether registries can be reached; asks the registries of which nothing recent is known.

    No caller waits for longer than `patience` seconds. A registry that is known to be gone is asked in the background
    only, so that it delays no pull.
    """

    def __init__(self, upstream: Answering, scope: Scope, *, patience: float, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._patience = patience
        self._clock = clock
        self._contacts: Recent[Registry, RegistryContact] = Recent(_MOST_REGISTRIES)
        self._pings: InFlight[Registry] = InFlight(scope, most=_MOST_PINGS)

    def contact(self, registry: Registry) -> RegistryContact:
        """The contact with this registry."""
        return self._contacts.get_or_put(registry, RegistryContact)

    async def is_reachable(self, registry: Registry) -> bool:
        """Whether the registry answers; a registry that takes longer than `patience` counts as gone for this pull."""
        contact = self.contact(registry)
        presence = contact.presence(self._clock())
        name = f"ping {registry}"
        if presence is RegistryState.UNKNOWN:
            await self._pings.wait(registry, lambda: self._ping(registry), name=name, patience=self._patience)
            presence = contact.presence(self._clock())
            if presence is RegistryState.UNKNOWN:
                # Until the registry answers after all, no other caller waits.
                contact.failed(self._clock())
        elif presence is RegistryState.GONE and not contact.is_quiet(self._clock()):
            self._pings.start(registry, lambda: self._ping(registry), name=name)
        return presence is RegistryState.THERE

    async def outcome(self, registry: Registry, question: Awaitable[None]) -> UpstreamFailed | None:
        """Ask the registry something, within a bound; returns the failure, or None. Keeps what this shows of it."""
        failure: UpstreamFailed | None = None
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT):
                await question
        except UpstreamFailed as error:
            failure = error
        except TimeoutError:
            failure = UpstreamUnreachable(f"{registry}: no answer in {QUESTION_TIMEOUT:.0f} s")
        except Exception as error:  # noqa: BLE001 - an image's name alone makes us ask: its host may be anything
            note_unexpected(f"asking {registry}", error)
            failure = UpstreamUnreachable(f"{registry}: cannot be asked")
        self._keep(registry, failure)
        return failure

    async def _ping(self, registry: Registry) -> None:
        await self.outcome(registry, self._upstream.ping(registry))

    def _keep(self, registry: Registry, failure: UpstreamFailed | None) -> None:
        contact, now = self.contact(registry), self._clock()
        match failure:
            case UpstreamUnreachable():
                contact.failed(now)
                # Once per outage: later failures tell nothing new.
                level = logging.INFO if contact.failures == 1 else logging.DEBUG
                logger.log(level, "upstream does not answer: %s", failure, extra={"registry": str(registry)})
            case UpstreamLimited():
                contact.limited(now, failure.retry_after)
                logger.info("upstream limits us", extra={"registry": str(registry), "seconds": failure.retry_after})
            case _:
                contact.answered(now)
