"""The referrers of an image: signatures and the like, which a verifying client needs with the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.inventory.walk import take
from registryd.oci.manifest import parse_descriptor
from registryd.oci.referrers import attached_tags, parse_referrers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.inventory.walk import Parts
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Repository
    from registryd.upstream.answers import ManifestBytes

# A bill of material may be signed, and its signature hardly.
_DEEPEST: Final = 3


class ReferrersSource(Protocol):
    """The endpoint that is asked. Both methods raise ContentUnavailable."""

    async def manifest(self, repository: Repository, reference: Reference) -> ManifestBytes:
        """A manifest."""

    async def referrers(self, repository: Repository, subject: Digest) -> bytes:
        """The list of what is attached to it (`registryd.oci.referrers`)."""


async def attach(parts: Parts, repository: Repository, registry: ReferrersSource) -> int:
    """Add what is attached to an image that has been walked through; returns how many things that are.

    By the referrers API, for all of its manifests, and by cosign's tags, for the one that its name means.
    """
    return await _Attaching(parts, repository, registry).attach()


@dataclass(slots=True)
class _Attaching:
    parts: Parts
    repository: Repository
    registry: ReferrersSource
    count: int = 0

    async def attach(self) -> int:
        await self._follow(list(self.parts.manifests))
        for tag in attached_tags(self.parts.root) if self.parts.root else ():
            met = set(self.parts.manifests)
            await self._take(tag, 1, may_lack=True)
            # regctl asks for the referrers of a signature when it copies one.
            await self._follow([digest for digest in self.parts.manifests if digest not in met])
        return self.count

    async def _follow(self, subjects: Sequence[Digest]) -> None:
        """Take what is listed as attached to these, and what is attached to that."""
        waiting = [(subject, 1) for subject in subjects]
        while waiting:
            subject, depth = waiting.pop()
            for found in await self._listed(subject):
                await self._take(found, depth)
                if depth < _DEEPEST:
                    waiting.append((found, depth + 1))

    async def _listed(self, subject: Digest) -> list[Digest]:
        """What is attached to the subject and has not been met yet."""
        try:
            data = await self.registry.referrers(self.repository, subject)
        except ContentUnavailable as failure:
            self.parts.fails(f"what is attached to {subject}", failure)
            return []
        digests = [parse_descriptor(entry).digest for entry in parse_referrers(data)]
        return [digest for digest in digests if digest not in self.parts.manifests]

    async def _take(self, reference: Reference, depth: int, *, may_lack: bool = False) -> None:
        """An attached thing and all that it consists of."""
        waiting: list[tuple[Reference, int]] = [(reference, depth)]
        while waiting:
            wanted, deep = waiting.pop()
            try:
                got = await self.registry.manifest(self.repository, wanted)
                if got.digest in self.parts.manifests:
                    continue
                self.parts.manifests[got.digest] = got
                waiting += [(child, deep + 1) for child in take(got.data, self.parts, (), deep)]
            except ContentUnavailable as failure:
                if not (may_lack and isinstance(failure, ContentNotFound)):
                    self.parts.fails(wanted, failure)
                continue
            if wanted == reference:
                self.count += 1
