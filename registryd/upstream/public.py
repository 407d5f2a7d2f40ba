"""Whether anyone may pull from a repository, as the upstream itself says.

This node may give any pod the content that any client may pull. For all other content only the upstream knows which
client may have it. So the node asks the upstream as an anonymous client, and keeps the answers for a while: that anyone
may pull from a repository, and that the repository gives this very digest to anyone. The first answer says nothing
about a digest, because anyone can ask for any digest in a repository of their choice.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.recent import Recent
from registryd.aio.scope import open_scope
from registryd.oci.digest import Digest
from registryd.upstream.contact import RegistryState
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
from registryd.upstream.word import Word

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from registryd.aio.scope import Scope
    from registryd.oci.reference import Reference, Registry, Repository

logger = logging.getLogger(__name__)

# "Not public" costs us no more than help with the pull, so it may be wrong for the time of a coffee, not of a day: the
# repository was just created or published.
_NOT_PUBLIC_HOLDS: Final = 10 * 60.0
# Repositories that are remembered, and digests, some 300 bytes each. A busy node uses some hundred images.
_MOST_REMEMBERED: Final = 4096
# Questions at the same time: a node that starts pulls some tens of images.
_MOST_QUESTIONS: Final = 64


class Verdict(StrEnum):
    """The upstream's answer to an anonymous pull. Only `public` allows to answer in the upstream's place."""

    PUBLIC = "public"
    NOT_PUBLIC = "not_public"
    UNKNOWN = "unknown"


class AnyonesView(Answering, Protocol):
    """A registry as any client sees it."""

    async def head(self, repository: Repository, reference: Reference, /) -> bool:
        """Return when anyone may pull the manifest: whether any other node would be told so. Raises UpstreamFailed."""


class PublicRepositories:
    """Upstreams' answers about their repositories and manifests; made by `open_public_repositories`.

    No caller waits for longer than `patience` seconds: a question goes on in the background, for the next caller.
    """

    def __init__(self, upstream: AnyonesView, scope: Scope, *, patience: float, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._patience = patience
        self._clock = clock
        self._reachability = Reachability(upstream, scope, patience=patience, clock=clock)
        self._words: Recent[Repository, Word] = Recent(_MOST_REMEMBERED)
        self._given: Recent[tuple[Repository, Digest], Word] = Recent(_MOST_REMEMBERED)
        self._denied: Recent[Repository, float] = Recent(_MOST_REMEMBERED)
        # A missing manifest says nothing of its repository, or hides a private one: known for itself only.
        self._missing: Recent[tuple[Repository, Reference], float] = Recent(_MOST_REMEMBERED)
        self._questions: InFlight[tuple[Repository, Digest | None]] = InFlight(scope, most=_MOST_QUESTIONS)
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

    # repositories

    async def check(self, repository: Repository, reference: Reference) -> Verdict:
        """Whether anyone may pull from the repository, as its upstream says, or said last when it says nothing now.

        The reference is what the upstream is asked for if it has to be asked; the answer is for the repository.
        """
        word = self._words.get(repository)
        if await self._still_holds(word, repository, reference):
            return Verdict.PUBLIC
        if self._is_denied(repository):
            return Verdict.NOT_PUBLIC
        await self._ask(repository, reference)
        return self._verdict(self._words.get(repository), repository, reference)

    async def learn(self, repository: Repository, reference: Reference) -> None:
        """Find out in the background what `check` would say, for a time when the upstream says nothing."""
        word = self._words.get(repository)
        if not (self._is_denied(repository) or (word and word.holds(self._clock()))):
            await self._ask(repository, reference, patience=0.0)

    def remembers_public(self, repository: Repository) -> bool:
        """Whether the upstream has said so, not too long ago; asks no one."""
        word = self._words.get(repository)
        return word is not None and word.is_kept(self._clock())

    def vouches_for(self, repository: Repository) -> bool:
        """The same, for others: not what was said because of something that only this node shows to an upstream."""
        word = self._words.get(repository)
        return word is not None and word.is_kept(self._clock()) and not word.is_ours

    def ages(self) -> Iterator[tuple[Repository, float]]:
        """The public repositories, and how many seconds ago the upstream said so; the least recently used first."""
        now = self._clock()
        return ((repository, now - word.said_at) for repository, word in self._words.items())

    def recall(self, repository: Repository, *, age: float) -> None:
        """Note that it was public so many seconds ago, as its upstream said before a restart."""
        word = Word(self._clock() - age)
        if word.is_kept(self._clock()):
            self._words.put(repository, word)

    # manifests

    async def gives(self, repository: Repository, digest: Digest) -> Verdict:
        """Whether the repository gives this very manifest to anyone; what it said last when it says nothing now."""
        key = repository, digest
        if await self._still_holds(self._given.get(key), repository, digest):
            return Verdict.PUBLIC
        if self._is_denied(repository):
            return Verdict.NOT_PUBLIC
        await self._ask(repository, digest)
        return self._verdict(self._given.get(key), repository, digest)

    # asking

    async def _still_holds(self, word: Word | None, repository: Repository, reference: Reference) -> bool:
        now = self._clock()
        if word is None or not word.holds(now):
            return False
        if word.is_due(now):
            await self._ask(repository, reference, patience=0.0)
        return True

    def _verdict(self, word: Word | None, repository: Repository, reference: Reference) -> Verdict:
        if word is not None and word.is_kept(self._clock()):
            return Verdict.PUBLIC
        is_refused = self._is_denied(repository) or (word is None and self._is_missing(repository, reference))
        return Verdict.NOT_PUBLIC if is_refused else Verdict.UNKNOWN

    async def _ask(self, repository: Repository, reference: Reference, *, patience: float | None = None) -> None:
        """Ask the upstream, unless it said lately that it does not have this; later if it is to be left alone now."""
        now, contact = self._clock(), self._reachability.contact(repository.registry)
        if self._is_missing(repository, reference):
            return
        if patience is None:
            patience = 0.0 if contact.presence(now) is RegistryState.GONE else self._patience
        question = None if contact.is_quiet(now) else self._question(repository, reference)
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
            (repository, reference if isinstance(reference, Digest) else None),
            lambda: self._learn(repository, reference),
            name=f"is {repository} public",
        )

    async def _learn(self, repository: Repository, reference: Reference) -> None:
        words: list[Word] = []

        async def ask() -> None:
            is_everybodys = await self._upstream.head(repository, reference)
            words.append(Word(self._clock(), is_ours=not is_everybodys))

        failure = await self._reachability.outcome(repository.registry, ask())
        logger.debug("asked whether %s is public: %s", repository, failure or "yes")
        match failure:
            case None:
                self._take(repository, reference, words[0])
            case UpstreamDenied():
                self._deny(repository)
            case UpstreamMissing():
                self._missing.put((repository, reference), self._clock())
                self._forget(repository, reference, is_gone=True)
            case UpstreamBroken():
                self._forget(repository, reference)
            case UpstreamUnreachable() | UpstreamLimited():
                self._postponed.put(repository, reference)

    def _take(self, repository: Repository, reference: Reference, word: Word) -> None:
        self._denied.drop(repository)
        self._words.put(repository, word)
        if isinstance(reference, Digest):
            self._given.put((repository, reference), word)
        self.changed.set()

    def _deny(self, repository: Repository) -> None:
        self._denied.put(repository, self._clock())
        self._words.drop(repository)
        for key in [key for key, _ in self._given.items() if key[0] == repository]:
            self._given.drop(key)
        self.changed.set()

    def _forget(self, repository: Repository, reference: Reference, *, is_gone: bool = False) -> None:
        """A word that no longer holds is kept only while the upstream cannot be asked."""
        now = self._clock()
        if (word := self._words.get(repository)) is not None and not word.holds(now):
            self._words.drop(repository)
            self.changed.set()
        if isinstance(reference, Digest):
            given = self._given.get((repository, reference))
            if given is not None and (is_gone or not given.holds(now)):
                self._given.drop((repository, reference))

    def _is_denied(self, repository: Repository) -> bool:
        return self._is_recent(self._denied.get(repository))

    def _is_missing(self, repository: Repository, reference: Reference) -> bool:
        return self._is_recent(self._missing.get((repository, reference)))

    def _is_recent(self, said_at: float | None) -> bool:
        return said_at is not None and self._clock() - said_at < _NOT_PUBLIC_HOLDS


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
