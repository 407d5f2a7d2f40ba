"""What a faulty peer has: OCI layouts on disk, spoken of and given in the way of its character."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lab.faults.manners import Reset
from registryd.cluster.fetch.opening import SMALL_BYTES
from registryd.content.growing import GrowingContent
from registryd.content.provenance import Provenance
from registryd.content.source import Content, ContentNotFound, OpenContent
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registryd.transfer.body import ChunksBody
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from lab.faults.characters import Character
    from lab.faults.manners import Manner
    from registryd.content.source import NamedContent, RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository, TaggedName


@dataclass(frozen=True, slots=True)
class Layouts:
    """The content of several OCI layouts."""

    folders: tuple[Path, ...]

    def read(self, digest: Digest) -> bytes:
        """Raises ContentNotFound."""
        for folder in self.folders:
            path = folder / "blobs" / digest.algorithm / digest.encoded
            if path.is_file():
                return _read(path)
        raise ContentNotFound(f"{digest} is in none of the layouts")


@lru_cache(maxsize=32)
def _read(path: Path) -> bytes:
    """Once: large content is asked for in many parts."""
    return path.read_bytes()


class CharacterStore:
    """A ContentSource and a NameSource that finds, opens and gives as its character does. Knows no names."""

    def __init__(self, character: Character, layouts: Layouts, *, tell: Callable[[str], None]) -> None:
        """`tell` is called with the character's name and what kind of content it is about to give."""
        self._character = character
        self._layouts = layouts
        self._tell = tell

    async def find(self, digest: Digest) -> Content:
        data = self._layouts.read(digest)
        await asyncio.sleep(self._character.ponders_seconds)
        size = self.told_size(data)
        if self._character.arriving and _is_large(data):
            return GrowingContent(digest, size, None, size // 2)
        return Content(digest, size, _media_type(data))

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        data = self._layouts.read(digest)
        size = self.told_size(data)
        span = wanted(size)
        given = self.padded(data)[span.start : span.stop]
        body = ChunksBody(_as_source(self.manner(data), given), length=span.length)
        return OpenContent(Content(digest, size, _media_type(data)), span, body)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:  # noqa: ARG002 - the contract's
        return ()

    async def provenance(self, content: Content) -> Provenance:  # noqa: ARG002 - the contract's
        return Provenance(is_nobodys=True)

    def namers(self, digest: Digest) -> frozenset[Repository]:  # noqa: ARG002 - the contract's
        return frozenset()

    def told_size(self, data: bytes) -> int:
        """What it says the size of this content is."""
        return len(data) + (self._character.size_lie if _is_large(data) else 0)

    def padded(self, data: bytes) -> bytes:
        """As many bytes as it says there are."""
        return data.ljust(self.told_size(data), b"x")

    def manner(self, data: bytes) -> Manner:
        """How it gives this content, which it is about to do."""
        kind, manner = ("large", self._character.large) if _is_large(data) else ("small", self._character.small)
        self._tell(f"{self._character.name} {kind}")
        return manner


async def _as_source(manner: Manner, data: bytes) -> AsyncGenerator[bytes, None]:
    async with aclosing(manner(data)) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        except Reset as error:
            raise SourceBroken("reset") from error


def _is_large(data: bytes) -> bool:
    return len(data) > SMALL_BYTES


def _media_type(data: bytes) -> str | None:
    if len(data) > MAX_MANIFEST_SIZE or not data.startswith(b"{"):
        return None
    try:
        return parse_manifest(data).media_type
    except ManifestInvalid:
        return None
