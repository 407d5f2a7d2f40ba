"""An endpoint's answers about an image before its registry asked for a pause: not asked again after the pause.

A registry may admit fewer requests between two pauses than an image needs. Without this memory it would answer the same
first requests for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import ContentNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Repository
    from registryd.upstream.answers import ManifestBytes


@dataclass(slots=True, eq=False)
class Said:
    """Answers about one image; "not found" is one, other failures are none."""

    root: ManifestBytes | None = None
    manifests: dict[Reference, ManifestBytes | ContentNotFound] = field(default_factory=dict)
    lists: dict[Digest, bytes] = field(default_factory=dict)


class Asked(Protocol):
    """The endpoint that is asked for unknown answers. Both methods raise ContentUnavailable."""

    async def manifest(self, repository: Repository, reference: Reference) -> ManifestBytes:
        """A manifest."""

    async def referrers(self, repository: Repository, subject: Digest) -> bytes:
        """The list of what is attached to it."""


class Recalled:
    """The same questions, each answered once."""

    def __init__(self, asked: Asked, said: Said) -> None:
        self._asked = asked
        self._said = said

    async def root(self, read: Callable[[], Awaitable[ManifestBytes]]) -> ManifestBytes:
        """The image's own manifest. Raises as `read` does."""
        if self._said.root is None:
            self._said.root = await read()
        return self._said.root

    async def manifest(self, repository: Repository, reference: Reference) -> ManifestBytes:
        """A manifest of the image or of what is attached to it. Raises ContentUnavailable."""
        if reference not in self._said.manifests:
            try:
                self._said.manifests[reference] = await self._asked.manifest(repository, reference)
            except ContentNotFound as failure:
                self._said.manifests[reference] = failure
        if isinstance(answer := self._said.manifests[reference], ContentNotFound):
            raise answer
        return answer

    async def referrers(self, repository: Repository, subject: Digest) -> bytes:
        """The list of what is attached to a manifest. Raises ContentUnavailable."""
        if subject not in self._said.lists:
            self._said.lists[subject] = await self._asked.referrers(repository, subject)
        return self._said.lists[subject]
