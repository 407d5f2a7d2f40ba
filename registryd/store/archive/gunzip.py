"""Unpacking of gzip as it streams by, from any program that makes gzip."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from registryd.store.archive.blocks import BLOCK_BYTES
from registryd.store.archive.errors import ArchiveInvalid
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from registryd.store.archive.blocks import Blocks
    from registryd.store.archive.limits import ArchiveLimits

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# zlib copies what it did not use of the input it is given, at the end of every member: of a whole block, that would be
# a copy of 1 MiB for each of 50,000 empty members in it.
_STEP_BYTES: Final = 64 * 1024
# Files that were joined, and packers that work in parallel, make members of 64 KiB and more (bgzip). Beyond the
# second number, members must have a tar block each on average, so that they cost no more than what they hold.
_MEMBER_BYTES: Final = 512
_ANY_MEMBERS: Final = 1024


class GunzipBlocks:
    """Other blocks unpacked, never more than one block at a time, however well they were packed."""

    def __init__(self, packed: Blocks, first: bytes, limits: ArchiveLimits) -> None:
        self._packed = packed
        self._input = memoryview(first)
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._limits = limits
        self._members = 1
        self._packed_bytes = len(first)
        self._unpacked_bytes = 0

    async def read(self) -> bytes:
        while True:
            if not self._input and not await self._refill():
                return b""
            if data := await run_in_pool(self._unpack):
                return data

    async def _refill(self) -> bool:
        block = await self._packed.read()
        if not block and not self._stream.eof:
            raise ArchiveInvalid("the archive ends in the middle of gzip data")
        self._packed_bytes += len(block)
        self._input = memoryview(block)
        return bool(block)

    def _unpack(self) -> bytes:
        """The bytes that the input gives, one block at most. The result is empty while the input has no bytes."""
        pieces, room = [], BLOCK_BYTES
        while self._input and room:
            piece = self._step(room)
            room -= len(piece)
            pieces.append(piece)
            self._unpacked_bytes += len(piece)
            self._require_moderate()
        return b"".join(pieces)

    def _step(self, room: int) -> bytes:
        if self._stream.eof:  # gzip files may follow each other
            self._stream = zlib.decompressobj(_GZIP_WINDOW)
            self._members += 1
        given = self._input[:_STEP_BYTES]
        try:
            piece = self._stream.decompress(given, room)
        except zlib.error as error:
            raise ArchiveInvalid("the archive has broken gzip data") from error
        unused = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        self._input = self._input[len(given) - len(unused) :]
        return piece

    def _require_moderate(self) -> None:
        if self._members > _ANY_MEMBERS + self._unpacked_bytes // _MEMBER_BYTES:
            raise ArchiveInvalid("the archive consists of gzip members with next to nothing in them")
        growth = self._limits.growth
        if self._unpacked_bytes > max(self._limits.any_growth_bytes, growth * self._packed_bytes):
            raise ArchiveInvalid(
                f"the archive grows to more than {growth} times its size (if that is meant: unpack it by gunzip first)"
            )
