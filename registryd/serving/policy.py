"""Whether this node may say what a reference resolves to, or leaves that to the upstream.

The HEAD of a manifest, a GET by tag and the HEAD of a blob are the moments in which the upstream checks the
credentials of a pull: containerd goes on to it when registryd has nothing to say. The bytes behind a digest are
given out afterwards; whoever knows the digest of a private image was told it by the upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from registryd.oci.reference import Tag
from registryd.settings import AuthorizationMode

if TYPE_CHECKING:
    from registryd.content.naming_rules import NamingRules
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository


class ResolvePolicy(Protocol):
    """Decides in bounded time; a doubt is a no."""

    async def may_resolve(self, repository: Repository, reference: Reference) -> bool:
        """Whether the reference may be answered from what the cluster has."""

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        """Whether it may be said what is attached to the subject: that changes, as what a tag means does."""

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        """Whether the repository is served at all."""


class PublicWord(Protocol):
    """What upstreams say of themselves. Both answer in bounded time."""

    async def is_reachable(self, registry: Registry, /) -> bool:
        """Whether the registry answers now."""

    async def learn(self, repository: Repository, reference: Reference, /) -> None:
        """Find out for later whether anyone may pull it; does not wait for the answer."""

    async def is_public(self, repository: Repository, reference: Reference, /) -> bool:
        """Whether anyone may pull it, as the registry said itself; False when that is not known."""


class ModePolicy:
    """The mode of the repository's registry.

    `open` answers everything, `upstream` nothing. `public` answers what anyone may pull; its tags only while the
    upstream cannot be reached, because a tag moves and the upstream knows where to.
    """

    def __init__(self, rules: NamingRules, public: PublicWord) -> None:
        self._rules = rules
        self._public = public

    async def may_resolve(self, repository: Repository, reference: Reference) -> bool:
        return await self._may_say(repository, reference, moves=isinstance(reference, Tag))

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        return await self._may_say(repository, subject, moves=True)

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        return not self._rules.excludes(repository, reference)

    async def _may_say(self, repository: Repository, reference: Reference, *, moves: bool) -> bool:
        mode = self._rules.mode(repository.registry)
        match mode:
            case AuthorizationMode.OPEN:
                return True
            case AuthorizationMode.UPSTREAM:
                return False
            case AuthorizationMode.PUBLIC:
                return await self._is_ours_to_answer(repository, reference, moves=moves)
        assert_never(mode)

    async def _is_ours_to_answer(self, repository: Repository, reference: Reference, *, moves: bool) -> bool:
        if moves and await self._public.is_reachable(repository.registry):
            # What moves is its own now; in an outage it will matter what it says today.
            await self._public.learn(repository, reference)
            return False
        return await self._public.is_public(repository, reference)
