"""Images and content that must not spread: given to nobody, taken from nobody, whoever asks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING, Protocol, Self

from registryd.content.source import ContentNotFound, ContentUnavailable, EntitledSource, NameSource
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from registryd.content.entitled import EntitledStore
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.reference import Reference, Repository, TaggedName


class ContentBlocked(ContentNotFound):
    """It may be here, and is given to nobody."""


@dataclass(frozen=True, slots=True)
class BlockRules:
    """Digests, and patterns of names as `authorization.exclude` has them."""

    digests: frozenset[Digest] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """A rule for each line; empty ones and comments, which begin with a number sign, are none.

        Raises ValueError for what looks like a digest and is none.
        """
        rules = [text for line in lines if (text := line.partition("#")[0].strip())]
        named = [rule for rule in rules if not _is_meant_as_digest(rule)]
        try:
            digests = frozenset(Digest.parse(rule) for rule in rules if _is_meant_as_digest(rule))
        except OciError as error:
            raise ValueError(str(error)) from error
        return cls(digests, tuple(re.compile(translate(rule)) for rule in named))

    def __or__(self, other: BlockRules) -> BlockRules:
        return BlockRules(self.digests | other.digests, self.patterns + other.patterns)

    def matches(self, name: str) -> bool:
        return any(pattern.match(name) for pattern in self.patterns)


@dataclass(slots=True)
class Blocklist:
    """What is blocked now. `of_images` is what images consist of whose names are blocked, as far as they are here."""

    rules: BlockRules = field(default_factory=BlockRules)
    of_images: Collection[Digest] = frozenset()

    def has(self, digest: Digest) -> bool:
        return digest in self.rules.digests or digest in self.of_images

    def has_named(self, repository: Repository, reference: Reference) -> bool:
        """Whether what is asked for under this name is blocked."""
        if isinstance(reference, Tag):
            return self.rules.matches(f"{repository}:{reference}") or self.rules.matches(str(repository))
        return self.has(reference) or self.rules.matches(str(repository))


class NamedSource(EntitledSource, NameSource, Protocol):
    """A source of content for names, and of names."""


class Unblocked:
    """A source without what is blocked."""

    def __init__(self, source: NamedSource, blocklist: Blocklist) -> None:
        self._source = source
        self._blocklist = blocklist

    async def find(self, sought: Sought) -> Content:
        self.require_unblocked(sought.digest)
        return await self._source.find(sought)

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        self.require_unblocked(sought.digest)
        return await self._source.open(sought, wanted)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        if self._blocklist.has_named(name.repository, name.tag):
            return ()
        return [known for known in await self._source.resolve(name) if not self._blocklist.has(known.target.digest)]

    def require_unblocked(self, digest: Digest) -> None:
        if self._blocklist.has(digest):
            raise ContentBlocked(f"{digest} is blocked (images.block)")


class UnblockedStore(Unblocked):
    """The same of this node's own store."""

    def __init__(self, store: EntitledStore, blocklist: Blocklist) -> None:
        super().__init__(store, blocklist)
        self._store = store

    async def entitled(self, sought: Sought, content: Content, provenance: Provenance | None = None) -> Content:
        self.require_unblocked(sought.digest)
        return await self._store.entitled(sought, content, provenance)


def require_unblocked(is_blocked: Callable[[Digest], bool], digest: Digest) -> None:
    """For what comes from elsewhere. Raises ContentUnavailable."""
    if is_blocked(digest):
        raise ContentUnavailable(f"{digest} is blocked (images.block)")


def _is_meant_as_digest(rule: str) -> bool:
    return re.match(r"sha\d+:", rule) is not None
