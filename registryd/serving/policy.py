"""Whether this node may say what a reference resolves to, or leaves that to the upstream.

The HEAD of a manifest, a GET by tag and the HEAD of a blob are the moments in which the upstream checks the
credentials of a pull: containerd goes on to it when registryd has nothing to say. The bytes behind a digest are
given out afterwards; whoever knows the digest of a private image was told it by the upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.settings import AuthorizationMode

if TYPE_CHECKING:
    from registryd.oci.reference import Registry, Repository
    from registryd.settings import AuthorizationSettings


class ResolvePolicy(Protocol):
    """Decides in bounded time; a doubt is a no."""

    async def may_resolve(self, repository: Repository) -> bool:
        """Whether references into the repository may be answered from what the cluster has."""


class ModePolicy:
    """The mode of the repository's registry: `open` answers, everything else is the upstream's."""

    def __init__(self, settings: AuthorizationSettings) -> None:
        self._default = settings.mode
        self._registries = dict(settings.registries)

    async def may_resolve(self, repository: Repository) -> bool:
        return self._mode(repository.registry) is AuthorizationMode.OPEN

    def _mode(self, registry: Registry) -> AuthorizationMode:
        return self._registries.get(registry.host, self._default)
