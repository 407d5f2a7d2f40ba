"""Which client gets which content from a cache, which fetches with credentials of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from registryd.config.agent import AuthorizationMode

if TYPE_CHECKING:
    from registryd.caching.registries import Registries
    from registryd.content.naming_rules import NamingRules
    from registryd.oci.reference import Reference, Repository


class AnonymousRights(Protocol):
    """The content that an upstream gives to anyone."""

    async def is_public(self, repository: Repository, reference: Reference, /) -> bool:
        """Whether anyone may pull it, as the upstream says or said lately; False when that is not known."""


class CachePolicy:
    """The modes of an agent, for a cache that has credentials that its clients do not have.

    `public` gives references and bytes that the upstream gives to anyone. Where the cache has no login, this is all
    content. `upstream` does not resolve references, and gives bytes to clients that know their digest. `open` gives all
    content.
    """

    def __init__(self, rules: NamingRules, registries: Registries, rights: AnonymousRights) -> None:
        self._rules = rules
        self._registries = registries
        self._rights = rights

    async def refusal(self, repository: Repository, reference: Reference, *, resolves: bool) -> str | None:
        """Why this is not given, in a few words; None when it is. `resolves`: it is said what the reference means."""
        registry = repository.registry
        if not self._registries.allows(registry):
            return f"{registry} is not among the registries of this cache (upstreams.allow)"
        if self._rules.excludes(repository, reference):
            return f"{repository} is excluded here"
        mode = self._rules.mode(registry)
        match mode:
            case AuthorizationMode.OPEN:
                return None
            case AuthorizationMode.UPSTREAM:
                return f"{registry} itself says who may pull this" if resolves else None
            case AuthorizationMode.PUBLIC:
                return None if await self._is_public(repository, reference) else f"{repository} is not public"
        assert_never(mode)

    async def _is_public(self, repository: Repository, reference: Reference) -> bool:
        # Without a login of ours an upstream gives us what it gives to anyone.
        if not await self._registries.has_login(repository):
            return True
        return await self._rights.is_public(repository, reference)
