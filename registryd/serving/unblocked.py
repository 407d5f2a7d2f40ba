"""A policy by which nothing is served that is blocked (`registryd.content.blocked`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.content.blocked import Blocklist
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.serving.policy import ResolvePolicy, Ruling


class UnblockedOnly:
    """A ResolvePolicy over another one."""

    def __init__(self, policy: ResolvePolicy, blocklist: Blocklist) -> None:
        self._policy = policy
        self._blocklist = blocklist

    async def may_resolve(self, repository: Repository, reference: Reference) -> Ruling:
        return await self._policy.may_resolve(repository, reference)

    def may_describe(self, repository: Repository) -> bool:
        return self._policy.may_describe(repository)

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        return await self._policy.may_list(repository, subject)

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        return not self._blocklist.has_named(repository, reference) and self._policy.may_serve(repository, reference)

    def is_open(self, registry: Registry) -> bool:
        return self._policy.is_open(registry)
