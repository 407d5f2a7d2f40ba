"""What is wanted, and stores that give it, for tests in which names do not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore, StripedStore
from registryd.content.entitlement import Entitlement
from registryd.content.naming_rules import NamingRules
from registryd.content.provenance import Provenance
from registryd.content.sought import Sought, Standing
from registryd.content.source import ContentNotFound, ContentSource, NameSource
from registryd.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.content.growing import GrowingContent
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName

REPOSITORY: Final = Repository.parse("registry.example/demo/app")


class PlainStore(ContentSource, NameSource, Protocol):
    """A store that does not know where its content is from."""


class Nobodys:
    """A NamedStore of content that there is nothing to hide of."""

    def __init__(self, store: PlainStore) -> None:
        self._store = store

    async def find(self, digest: Digest) -> Content:
        return await self._store.find(digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._store.open(digest, wanted)

    async def stripe(self, content: Content, stripe: int) -> GrowingContent:
        return await self._striped.stripe(content, stripe)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        return await self._striped.open_stripe(digest, stripe, wanted)

    @property
    def _striped(self) -> StripedStore:
        if not isinstance(self._store, StripedStore):
            raise ContentNotFound("a fake without stripes")
        return self._store

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._store.resolve(name)

    async def provenance(self, content: Content) -> Provenance:
        return Provenance(is_nobodys=True)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return frozenset()


def given(store: PlainStore) -> EntitledStore:
    """The store, which gives everything to everyone."""
    rules = NamingRules(AuthorizationSettings())
    return EntitledStore(Nobodys(store), Entitlement(rules, lambda _: False))


def said(content: Content) -> Content:
    """As a peer says it that looks whose it is."""
    return replace(content, standing=Standing.REPOSITORY)


def sought(digest: Digest) -> Sought:
    """Wanted for a repository whose name does not matter."""
    return Sought(digest, REPOSITORY)
