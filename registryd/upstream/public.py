"""May anyone pull this? As the upstream itself says.

An image that any client may pull can be given to any pod of this node; of all others only the upstream knows who may
have them. So the upstream is asked what an anonymous client would be told, and its word is kept for a while.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.scope import open_scope
from registryd.upstream.contact import Presence
from registryd.upstream.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from registryd.upstream.inflight import InFlight
from registryd.upstream.postponed import Postponed
from registryd.upstream.reachability import Answering, Reachability
from registryd.upstream.recent import Recent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from registryd.aio.scope import Scope
    from registryd.oci.reference import Reference, Registry, Repository

logger = logging.getLogger(__name__)

_HOUR: Final = 3600.0
# Who makes a repository private expects that to be so everywhere within a day; asking more often than pulls happen
# would tell nothing more.
_PUBLIC_HOLDS: Final = 24 * _HOUR
# Asked again in the background when three quarters are over, so that who uses a repository daily never waits, and an
# outage begins with an answer that still holds.
_PUBLIC_IS_RENEWED: Final = 18 * _HOUR
# "Not public" costs us no more than help with the pull, so it may be wrong for the time of a coffee, not of a day: the
# repository was just created or published.
_NOT_PUBLIC_HOLDS: Final = 10 * 60.0
# An upstream that cannot be reached has its last word kept for a week: long outages are over by then. Whoever is cut
# off for longer is air-gapped and says so (mode `open`).
_PUBLIC_IS_KEPT: Final = 7 * 24 * _HOUR
# Repositories that are remembered, some 300 bytes each. A busy node uses some hundred images.
_MOST_REPOSITORIES: Final = 4096
# Questions at the same time: a node that starts pulls some tens of images.
_MOST_QUESTIONS: Final = 64


class Verdict(StrEnum):
    """What the upstream says of an anonymous pull. Only `public` allows to answer in its place."""

    PUBLIC = "public"
    NOT_PUBLIC = "not_public"
    UNKNOWN = "unknown"


class AnyonesView(Answering, Protocol):
    """A registry as any client sees it."""

    async def head(self, repository: Repository, reference: Reference, /) -> None:
        """Return when anyone may pull the manifest. Raises UpstreamFailed."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What the upstream said of a repository, and when."""

    is_public: bool
    said_at: float

    def holds(self, now: float) -> bool:
        return now - self.said_at < (_PUBLIC_HOLDS if self.is_public else _NOT_PUBLIC_HOLDS)

    def is_due(self, now: float) -> bool:
        return self.is_public and now - self.said_at >= _PUBLIC_IS_RENEWED

    def verdict(self, now: float) -> Verdict:
        if self.is_public:
            return Verdict.PUBLIC if now - self.said_at < _PUBLIC_IS_KEPT else Verdict.UNKNOWN
        return Verdict.NOT_PUBLIC


class PublicRepositories:
    """What upstreams said of their repositories; made by `open_public_repositories`.

    Nobody waits for longer than `patience` seconds: a question goes on in the background, so that the next one knows.
    """

    def __init__(self, upstream: AnyonesView, scope: Scope, *, patience: float, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._patience = patience
        self._clock = clock
        self._reachability = Reachability(upstream, scope, patience=patience, clock=clock)
        self._words: Recent[Repository, _Word] = Recent(_MOST_REPOSITORIES)
        # A missing manifest says nothing of its repository, or hides a private one: known for itself only.
        self._missing: Recent[tuple[Repository, Reference], float] = Recent(_MOST_REPOSITORIES)
        self._questions: InFlight[Repository] = InFlight(scope, most=_MOST_QUESTIONS)
        self._postponed = Postponed(
            scope,
            self._ask_at_last,
            quiet_for=lambda registry: self._reachability.contact(registry).quiet_for(clock()),
            clock=clock,
        )
        self.changed = asyncio.Event()
        """Set when something else is public than before, or again; for whoever keeps it over a restart."""

    async def upstream_reachable(self, registry: Registry) -> bool:
        """Whether the registry answers now, so that its tags are its own business."""
        return await self._reachability.is_reachable(registry)

    async def check(self, repository: Repository, reference: Reference) -> Verdict:
        """What the upstream says of an anonymous pull, latest of all when it says nothing now.

        The reference is what the upstream is asked for if it has to be asked; the answer is for the repository.
        """
        now = self._clock()
        word = self._words.get(repository)
        if word is not None and word.holds(now):
            if word.is_due(now):
                await self._ask(repository, reference, patience=0.0)
            return word.verdict(now)
        is_gone = self._reachability.contact(repository.registry).presence(now) is Presence.GONE
        await self._ask(repository, reference, patience=0.0 if is_gone else self._patience)
        return self._latest(repository, reference)

    async def learn(self, repository: Repository, reference: Reference) -> None:
        """Find out in the background what `check` would say, for a time when the upstream says nothing."""
        word = self._words.get(repository)
        if word is None or not word.holds(self._clock()):
            await self._ask(repository, reference, patience=0.0)

    def remembers_public(self, repository: Repository) -> bool:
        """Whether the upstream has said so, not too long ago; nobody is asked."""
        word = self._words.get(repository)
        return word is not None and word.verdict(self._clock()) is Verdict.PUBLIC

    def ages(self) -> Iterator[tuple[Repository, float]]:
        """What is public, and how many seconds ago that was said; the least recently used first."""
        now = self._clock()
        return ((repository, now - word.said_at) for repository, word in self._words.items() if word.is_public)

    def recall(self, repository: Repository, *, age: float) -> None:
        """It was public so many seconds ago, as its upstream said to us before a restart."""
        if age < _PUBLIC_IS_KEPT:
            self._words.put(repository, _Word(is_public=True, said_at=self._clock() - age))

    async def _ask(self, repository: Repository, reference: Reference, *, patience: float) -> None:
        """Ask the upstream, unless it said lately that it does not have this; later if it is to be left alone now."""
        now = self._clock()
        if self._is_missing(repository, reference, now):
            return
        is_quiet = self._reachability.contact(repository.registry).is_quiet(now)
        question = None if is_quiet else self._question(repository, reference)
        if question is None:
            self._postponed.put(repository, reference)
        else:
            # It goes on without us.
            await asyncio.wait((question,), timeout=patience)

    async def _ask_at_last(self, repository: Repository, reference: Reference) -> bool:
        """Ask what was postponed; whether the upstream said anything to it."""
        question = self._question(repository, reference)
        if question is None:
            return False
        await asyncio.wait((question,))
        return not self._reachability.contact(repository.registry).is_quiet(self._clock())

    def _question(self, repository: Repository, reference: Reference) -> asyncio.Task[object] | None:
        """The one that is under way, or a new one; None when too many are."""
        return self._questions.start(
            repository, lambda: self._learn(repository, reference), name=f"is {repository} public"
        )

    async def _learn(self, repository: Repository, reference: Reference) -> None:
        question = self._upstream.head(repository, reference)
        failure = await self._reachability.outcome(repository.registry, question)
        logger.debug("asked whether %s is public: %s", repository, failure or "yes")
        now = self._clock()
        match failure:
            case None:
                self._say(repository, is_public=True)
            case UpstreamDenied():
                self._say(repository, is_public=False)
            case UpstreamMissing():
                self._missing.put((repository, reference), now)
                self._forget_if_old(repository, now)
            case UpstreamBroken():
                self._forget_if_old(repository, now)
            case UpstreamUnreachable() | UpstreamLimited():
                self._postponed.put(repository, reference)

    def _say(self, repository: Repository, *, is_public: bool) -> None:
        self._words.put(repository, _Word(is_public, self._clock()))
        self.changed.set()

    def _forget_if_old(self, repository: Repository, now: float) -> None:
        """A word that no longer holds is kept only while the upstream cannot be asked."""
        word = self._words.get(repository)
        if word is not None and not word.holds(now):
            self._words.drop(repository)
            self.changed.set()

    def _latest(self, repository: Repository, reference: Reference) -> Verdict:
        now = self._clock()
        word = self._words.get(repository)
        if word is not None:
            return word.verdict(now)
        return Verdict.NOT_PUBLIC if self._is_missing(repository, reference, now) else Verdict.UNKNOWN

    def _is_missing(self, repository: Repository, reference: Reference, now: float) -> bool:
        said_at = self._missing.get((repository, reference))
        return said_at is not None and now - said_at < _NOT_PUBLIC_HOLDS


@asynccontextmanager
async def open_public_repositories(
    upstream: AnyonesView, *, patience: float = 2.0, clock: Callable[[], float] | None = None
) -> AsyncIterator[PublicRepositories]:
    """Open them; questions under way are cancelled at the end. `clock` gives seconds, the loop's unless given.

    Two seconds fit into the three that a request may wait for its first byte (registry.first_byte_timeout); a
    challenge, a token and a HEAD over new connections take about ten round trips, 1.5 s to the other side of the world.
    """
    async with open_scope() as scope:
        yield PublicRepositories(upstream, scope, patience=patience, clock=clock or asyncio.get_running_loop().time)
