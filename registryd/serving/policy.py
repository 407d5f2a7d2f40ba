"""Whether this node may say what a reference resolves to, or leaves that to the upstream.

At the HEAD of a manifest and at a GET by tag the upstream checks the credentials of a pull: containerd goes on to the
upstream when registryd does not answer. Afterwards the node with the content decides what it gives for a name
(`registryd.content.entitlement`).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol, assert_never

from registryd.config.agent import AuthorizationMode
from registryd.oci.reference import Tag

if TYPE_CHECKING:
    from registryd.content.naming_rules import NamingRules
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository


class Ruling(Enum):
    """What the node may answer about a reference."""

    NOTHING = "nothing: the upstream itself says who may have it"
    WHAT_IS_ITS_OWN = "what one who has the content knows as this repository's"
    ANYTHING = "whatever is given for that name: the upstream has said that anyone may have it"


class ResolvePolicy(Protocol):
    """Decides in bounded time; a doubt is a no."""

    async def may_resolve(self, repository: Repository, reference: Reference) -> Ruling:
        """What the node may answer about a manifest's reference, from the cluster's content."""

    def may_describe(self, repository: Repository) -> bool:
        """Whether it may be said that a blob of the repository is here."""

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        """Whether it may be said what is attached to the subject, of what is the repository's own.

        That changes, as what a tag means does.
        """

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        """Whether the repository is served at all."""

    def is_open(self, registry: Registry) -> bool:
        """Whether the operator lets anyone have all that the registry has."""


class PublicWord(Protocol):
    """Upstreams' answers about public repositories. Each method answers in bounded time."""

    async def is_reachable(self, registry: Registry, /) -> bool:
        """Whether the registry answers now."""

    async def learn(self, repository: Repository, reference: Reference, /) -> None:
        """Find out for later whether anyone may pull from the repository; does not wait for the answer."""

    async def gives(self, repository: Repository, digest: Digest, /) -> bool | None:
        """Whether the upstream gives that very manifest, of that repository, to anyone; None when it does not say."""

    async def is_public(self, repository: Repository, /) -> bool:
        """Whether anyone may pull from it, as its upstream said to this node or to a member; nobody else is asked."""

    def remembers_public(self, repository: Repository, /) -> bool:
        """The same, as this node remembers it."""


class ModePolicy:
    """The mode of the repository's registry.

    `open` answers what is the repository's own, `upstream` nothing. `public` answers what anyone may pull: a digest, if
    the upstream gives it to anyone in that repository; while the upstream does not say, and for its tags, because a tag
    moves and the upstream knows where to, what is the repository's own, if anyone may pull from it.
    """

    def __init__(self, rules: NamingRules, public: PublicWord) -> None:
        self._rules = rules
        self._public = public

    async def may_resolve(self, repository: Repository, reference: Reference) -> Ruling:
        mode = self._rules.mode(repository.registry)
        match mode:
            case AuthorizationMode.OPEN:
                return Ruling.WHAT_IS_ITS_OWN
            case AuthorizationMode.UPSTREAM:
                return Ruling.NOTHING
            case AuthorizationMode.PUBLIC if isinstance(reference, Tag):
                return await self._of_what_moves(repository, reference)
            case AuthorizationMode.PUBLIC:
                return await self._of_digest(repository, reference)
        assert_never(mode)

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        mode = self._rules.mode(repository.registry)
        if mode is AuthorizationMode.PUBLIC:
            return await self._of_what_moves(repository, subject) is not Ruling.NOTHING
        return mode is AuthorizationMode.OPEN

    def may_describe(self, repository: Repository) -> bool:
        mode = self._rules.mode(repository.registry)
        is_public = mode is AuthorizationMode.PUBLIC and self._public.remembers_public(repository)
        return is_public or mode is AuthorizationMode.OPEN

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        return not self._rules.excludes(repository, reference)

    def is_open(self, registry: Registry) -> bool:
        return self._rules.mode(registry) is AuthorizationMode.OPEN

    async def _of_what_moves(self, repository: Repository, reference: Reference) -> Ruling:
        if await self._public.is_reachable(repository.registry):
            # A tag that moves is the upstream's own now; in an outage the upstream's answer of today will matter.
            await self._public.learn(repository, reference)
            return Ruling.NOTHING
        return await self._in_outage(repository)

    async def _of_digest(self, repository: Repository, digest: Digest) -> Ruling:
        is_given = await self._public.gives(repository, digest)
        if is_given is None:
            return await self._in_outage(repository)
        return Ruling.ANYTHING if is_given else Ruling.NOTHING

    async def _in_outage(self, repository: Repository) -> Ruling:
        return Ruling.WHAT_IS_ITS_OWN if await self._public.is_public(repository) else Ruling.NOTHING
