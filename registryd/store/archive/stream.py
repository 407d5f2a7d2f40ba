"""The bytes of an archive in order, in the portions that its format asks for; unpacked when they are gzip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.store.archive.blocks import Blocks, FileBlocks
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.gunzip import GunzipBlocks
from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_GZIP_MAGIC: Final = b"\x1f\x8b"
# Other packers of archives, and the programs that unpack them.
_OTHERS: Final = {
    b"\x28\xb5\x2f\xfd": "zstd -dc",
    b"\xfd7zXZ\0": "xz -dc",
    b"BZh": "bzip2 -dc",
    b"PK\x03\x04": "unzip -p",
}


class ArchiveStream:
    """The archive's bytes, read in the portions that its format asks for."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    @classmethod
    async def open(cls, fd: int, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveStream:
        """Over a descriptor, which stays the caller's; gzip is recognised. Raises ArchiveInvalid, OSError."""
        file = FileBlocks(fd)
        first = await file.read()
        if not first:
            raise ArchiveInvalid("the archive is empty")
        for magic, command in _OTHERS.items():
            if first.startswith(magic):
                raise ArchiveInvalid(f"neither tar nor gzip: unpack it first (`{command} … | registryd import -`)")
        if not first.startswith(_GZIP_MAGIC):
            stream = cls(file)
            stream._rest = memoryview(first)
            return stream
        return cls(GunzipBlocks(file, first, limits))

    async def take(self, count: int) -> bytes:
        """Exactly `count` bytes, a number that the caller has bounded; raises ArchiveInvalid when they end before."""
        taken = [bytes(chunk) async for chunk in self.chunks(count)]
        return b"".join(taken)

    async def chunks(self, count: int) -> AsyncIterator[bytes]:
        """The next `count` bytes as they come; raises ArchiveInvalid when they end before."""
        while count:
            if not self._rest:
                self._rest = memoryview(await self._blocks.read())
            if not self._rest:
                raise ArchiveInvalid("the archive ends in the middle of a file")
            chunk, self._rest = self._rest[:count], self._rest[count:]
            count -= len(chunk)
            yield bytes(chunk)
