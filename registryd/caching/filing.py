"""To which repositories the content of the store belongs: the cache gives content only for these.

The content of a repository is the content that its upstream gave for it, or content that is free for anyone. Content
from another repository of the same registry counts where a manifest of this repository lists it: a registry takes no
manifest of blobs that the repository lacks. For all other content the cache asks the upstream: once, by HEAD, where the
operator named the registry. The word of a registry that the operator did not name proves nothing, so the cache has to
fetch the content from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.content.entitled import EntitledStore
from registryd.content.sought import Sought, Standing
from registryd.content.source import NotForName

if TYPE_CHECKING:
    from registryd.caching.keeping import CacheStore
    from registryd.caching.upstreams import Upstreams
    from registryd.content.entitlement import Entitlement
    from registryd.content.source import Content, ContentSource, OpenContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository


class Filing:
    """The store, by repository. Raises as ContentSource does, and NotForName for what is here and not known as its."""

    def __init__(self, store: CacheStore, entitlement: Entitlement) -> None:
        self._store = store
        self._entitled = EntitledStore(store, entitlement)

    async def find(self, repository: Repository, digest: Digest) -> Content:
        """The content's size and type."""
        content = await self._entitled.find(Sought(digest, repository))
        if content.standing is Standing.REGISTRY and repository not in self._store.namers(digest):
            raise NotForName(f"{digest} is not known to be of {repository}")
        return content

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> OpenContent:
        """The content's bytes; the caller closes the body. Raises RangeInvalid besides."""
        await self.find(repository, digest)
        return await self._store.open(digest, wanted)

    def of(self, repository: Repository) -> ContentSource:
        """The store's content of that repository."""
        return _Filed(self, repository)


class _Filed:
    def __init__(self, filing: Filing, repository: Repository) -> None:
        self._filing = filing
        self._repository = repository

    async def find(self, digest: Digest) -> Content:
        return await self._filing.find(self._repository, digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._filing.open(self._repository, digest, wanted)


class Claims:
    """Has upstreams say that what is here is theirs, too."""

    def __init__(self, store: CacheStore, upstreams: Upstreams) -> None:
        self._store = store
        self._upstreams = upstreams

    async def claim_blob(self, repository: Repository, digest: Digest) -> bool:
        """Whether the upstream says that the repository has it. Raises UpstreamFailed."""
        if not self._upstreams.is_named(repository.registry):
            return False
        await self._upstreams.head_blob(repository, digest)
        await self._store.note_source(digest, repository)
        return True

    async def claim_manifest(self, repository: Repository, digest: Digest) -> bool:
        """The same of a manifest. Raises UpstreamFailed."""
        if not self._upstreams.is_named(repository.registry):
            return False
        if not await self._upstreams.gives_manifest(repository, digest):
            return False
        await self._store.note_source(digest, repository)
        return True
