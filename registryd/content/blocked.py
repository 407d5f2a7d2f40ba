"""Blocked images and content, which must not spread: the agent gives them to no client, and takes them from no node."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

from registryd.config.name_patterns import NamePattern
from registryd.content.source import ContentNotFound, ContentUnavailable, EntitledSource, NameSource
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Tag
from registryd.transfer.breaking import Cuts, CuttableBody

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from registryd.content.entitled import EntitledStore
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.reference import Reference, Repository, TaggedName
    from registryd.transfer.body import Body


class ContentBlocked(ContentNotFound):
    """The content is blocked: it may be here, and no client gets it."""


@dataclass(frozen=True, slots=True)
class BlockRules:
    """Digests, and patterns of names as `authorization.exclude` has them."""

    digests: frozenset[Digest] = frozenset()
    patterns: tuple[NamePattern, ...] = ()
    useless: tuple[str, ...] = ()
    """Patterns that no name can match: the operator means something else. They must not undo the others."""

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """A rule for each line; empty ones and comments, which begin with a number sign, are none.

        Raises ValueError for what looks like a digest and is none.
        """
        rules = [_digest_of(text) for line in lines if (text := line.partition("#")[0].strip())]
        named = [rule for rule in rules if not _is_meant_as_digest(rule)]
        try:
            digests = frozenset(Digest.parse(rule) for rule in rules if _is_meant_as_digest(rule))
        except OciError as error:
            raise ValueError(str(error)) from error
        patterns = {rule: _pattern_of(rule) for rule in named}
        useful = tuple(pattern for pattern in patterns.values() if pattern)
        return cls(digests, useful, tuple(rule for rule, pattern in patterns.items() if not pattern))

    def __or__(self, other: BlockRules) -> BlockRules:
        digests, patterns = self.digests | other.digests, self.patterns + other.patterns
        return BlockRules(digests, patterns, self.useless + other.useless)

    def matches(self, *names: str) -> bool:
        """Whether a pattern matches one of these: an image's name, and perhaps its repository's."""
        return any(pattern.matches(*names) for pattern in self.patterns)


@dataclass(slots=True)
class Blocklist:
    """The blocked content now, and the bodies under way that may have to end.

    `of_images` is the content of images whose names are blocked, as far as it is here.
    """

    rules: BlockRules = field(default_factory=BlockRules)
    of_images: Collection[Digest] = frozenset()
    bodies: Cuts[Sought] = field(default_factory=lambda: Cuts(_why_blocked))

    def has(self, digest: Digest) -> bool:
        return digest in self.rules.digests or digest in self.of_images

    def has_sought(self, sought: Sought) -> bool:
        """Whether this is blocked, or all of the repository that it is wanted for."""
        return self.has(sought.digest) or (sought.repository is not None and self.rules.matches(str(sought.repository)))

    def guard(self, sought: Sought, body: Body) -> Body:
        """The body, which breaks off when what it is comes to be blocked."""
        return CuttableBody(body, self.bodies, sought, is_cut=self.has_sought)

    def cut(self) -> int:
        """Break off what is under way and blocked now; how many bodies that were."""
        return self.bodies.cut(self.has_sought)

    def has_named(self, repository: Repository, reference: Reference) -> bool:
        """Whether what is asked for under this name is blocked."""
        if isinstance(reference, Tag):
            return self.rules.matches(f"{repository}:{reference}", str(repository))
        return self.has(reference) or self.rules.matches(str(repository))


class NamedSource(EntitledSource, NameSource, Protocol):
    """A source of content for names, and of names."""


class Unblocked:
    """A source without what is blocked."""

    def __init__(self, source: NamedSource, blocklist: Blocklist) -> None:
        self._source = source
        self._blocklist = blocklist

    async def find(self, sought: Sought) -> Content:
        self.require_unblocked(sought)
        return await self._source.find(sought)

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        self.require_unblocked(sought)
        opened = await self._source.open(sought, wanted)
        return replace(opened, body=self._blocklist.guard(sought, opened.body))

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        if self._blocklist.has_named(name.repository, name.tag):
            return ()
        return [known for known in await self._source.resolve(name) if not self._blocklist.has(known.target.digest)]

    def require_unblocked(self, sought: Sought) -> None:
        if self._blocklist.has_sought(sought):
            raise ContentBlocked(_why_blocked(sought))


class UnblockedStore(Unblocked):
    """The same of this node's own store."""

    def __init__(self, store: EntitledStore, blocklist: Blocklist) -> None:
        super().__init__(store, blocklist)
        self._store = store

    async def entitled(self, sought: Sought, content: Content, provenance: Provenance | None = None) -> Content:
        self.require_unblocked(sought)
        return await self._store.entitled(sought, content, provenance)


def require_unblocked(blocklist: Blocklist, sought: Sought) -> None:
    """Check content that comes from elsewhere. Raises ContentUnavailable."""
    if blocklist.has_sought(sought):
        raise ContentUnavailable(_why_blocked(sought))


def _why_blocked(sought: Sought) -> str:
    return f"{sought.digest} is blocked (images.block)"


def _pattern_of(rule: str) -> NamePattern | None:
    try:
        return NamePattern.parse(rule)
    except ValueError:
        return None


def _digest_of(rule: str) -> str:
    """The digest of a name by digest: content is blocked whatever names it has."""
    _, at, digest = rule.rpartition("@")
    return digest if at and _is_meant_as_digest(digest) else rule


def _is_meant_as_digest(rule: str) -> bool:
    return re.match(r"sha\d+:", rule) is not None
