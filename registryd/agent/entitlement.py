"""Upstreams' answers about public repositories, from this node's own question or from a peer's earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from registryd.upstream.public import Verdict

if TYPE_CHECKING:
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.upstream.public import PublicRepositories

_GIVEN: Final = {Verdict.PUBLIC: True, Verdict.NOT_PUBLIC: False, Verdict.UNKNOWN: None}


class Vouchers(Protocol):
    """The other members."""

    async def vouch(self, repository: Repository) -> bool:
        """Whether one of them knows from the upstream that anyone may pull this."""


class PublicByUpstreamOrPeers:
    """The upstream's own word; a member's memory of it when the upstream says nothing now.

    So that a node which has never asked can serve a public image while its registry is down. A member's word is as good
    as the content that it could give away itself.
    """

    def __init__(self, upstream: PublicRepositories, peers: Vouchers) -> None:
        self._upstream = upstream
        self._peers = peers

    async def is_reachable(self, registry: Registry) -> bool:
        return await self._upstream.upstream_reachable(registry)

    async def learn(self, repository: Repository, reference: Reference) -> None:
        await self._upstream.learn(repository, reference)

    async def gives(self, repository: Repository, digest: Digest) -> bool | None:
        return _GIVEN[await self._upstream.gives(repository, digest)]

    async def is_public(self, repository: Repository) -> bool:
        return self._upstream.remembers_public(repository) or await self._peers.vouch(repository)

    def remembers_public(self, repository: Repository) -> bool:
        return self._upstream.remembers_public(repository)
