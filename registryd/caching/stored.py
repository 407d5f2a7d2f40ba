"""The content that is in the store already, for clients that want nothing fetched: is all of an image here?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.caching.tags import TagMeaning
from registryd.content.lookup import Hit, Origin
from registryd.content.source import ContentNotFound

if TYPE_CHECKING:
    from registryd.caching.filing import Filing
    from registryd.caching.naming import TagFiling
    from registryd.content.source import Content, OpenContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName


class StoredContent:
    """Content of repositories that is here."""

    def __init__(self, filing: Filing) -> None:
        self._filing = filing

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """What it is. Raises ContentUnavailable."""
        return Hit(Origin.LOCAL, await self._filing.find(repository, digest))

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """Its bytes. Raises ContentUnavailable, or RangeInvalid."""
        return Hit(Origin.LOCAL, await self._filing.open(repository, digest, wanted))


class StoredTags:
    """The last meanings of tags."""

    def __init__(self, naming: TagFiling) -> None:
        self._naming = naming

    async def resolve(self, name: TaggedName, *, fetches: bool = False) -> TagMeaning:  # noqa: ARG002 - nothing is
        """Raises ContentNotFound."""
        latest = await self._naming.latest(name)
        if latest is None:
            raise ContentNotFound(f"{name} is not here")
        return TagMeaning(latest.target)
