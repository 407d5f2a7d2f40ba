"""Images and content that must not spread: given to nobody, taken from nobody, whoever asks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING, Protocol, Self

from registryd.content.source import ContentNotFound, ContentSource, ContentUnavailable, NameSource
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

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


class NamedStore(ContentSource, NameSource, Protocol):
    """A source of content and of names."""


class Unblocked:
    """A source without what is blocked."""

    def __init__(self, source: NamedStore, blocklist: Blocklist) -> None:
        self._source = source
        self._blocklist = blocklist

    async def find(self, digest: Digest) -> Content:
        self._require_unblocked(digest)
        return await self._source.find(digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        self._require_unblocked(digest)
        return await self._source.open(digest, wanted)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        if self._blocklist.has_named(name.repository, name.tag):
            return ()
        return [known for known in await self._source.resolve(name) if not self._blocklist.has(known.target.digest)]

    def _require_unblocked(self, digest: Digest) -> None:
        if self._blocklist.has(digest):
            raise ContentBlocked(f"{digest} is blocked (images.block)")


class Blocking(Protocol):
    """A policy (`registryd.serving.policy.ResolvePolicy`)."""

    async def may_resolve(self, repository: Repository, reference: Reference) -> bool: ...

    async def may_list(self, repository: Repository, subject: Digest) -> bool: ...

    def may_serve(self, repository: Repository, reference: Reference) -> bool: ...


class UnblockedOnly:
    """A policy by which nothing is served that is blocked."""

    def __init__(self, policy: Blocking, blocklist: Blocklist) -> None:
        self._policy = policy
        self._blocklist = blocklist

    async def may_resolve(self, repository: Repository, reference: Reference) -> bool:
        return await self._policy.may_resolve(repository, reference)

    async def may_list(self, repository: Repository, subject: Digest) -> bool:
        return await self._policy.may_list(repository, subject)

    def may_serve(self, repository: Repository, reference: Reference) -> bool:
        return not self._blocklist.has_named(repository, reference) and self._policy.may_serve(repository, reference)


def require_unblocked(is_blocked: Callable[[Digest], bool], digest: Digest) -> None:
    """For what comes from elsewhere. Raises ContentUnavailable."""
    if is_blocked(digest):
        raise ContentUnavailable(f"{digest} is blocked (images.block)")


def _is_meant_as_digest(rule: str) -> bool:
    return re.match(r"sha\d+:", rule) is not None
