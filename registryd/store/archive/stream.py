"""The bytes of an archive in order: from a file or a pipe, unpacked when they are gzip."""

from __future__ import annotations

import os
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.store.archive.errors import ArchiveInvalid
from registryd.transfer.pool import run_in_pool
from registryd.transfer.readiness import wait_readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# What a pool call reads: large enough that the call itself costs nothing.
_BLOCK_BYTES: Final = 1024 * 1024
# What is unpacked at a time: of what is left when a gzip member ends, zlib makes a copy.
_PACKED_BYTES: Final = 16 * 1024
# Members of a gzip file that may be tiny or empty. Programs that write many (bgzip, pigz) put 64 KiB into each.
_FREE_MEMBERS: Final = 1000
_LEAST_MEMBER_BYTES: Final = 512
_GZIP_MAGIC: Final = b"\x1f\x8b"
_OTHERS: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class Blocks(Protocol):
    """Bytes a block at a time."""

    async def read(self) -> bytes:
        """The next block, of whatever length; empty at the end."""


class FileBlocks:
    """An open descriptor of any kind, which stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_pollable = True

    async def read(self) -> bytes:
        await self._wait()
        return await run_in_pool(partial(os.read, self._fd, _BLOCK_BYTES))

    async def _wait(self) -> None:
        # A pipe whose writer is slow must not hold a thread, which could not be interrupted.
        if self._is_pollable:
            try:
                await wait_readable(self._fd)
            except PermissionError:  # a regular file, which always has its next bytes
                self._is_pollable = False


class GunzipBlocks:
    """Other blocks unpacked, never more than one block at a time, however well they were packed."""

    def __init__(self, packed: Blocks, first: bytes) -> None:
        self._packed = packed
        self._input = first
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._members = 1
        self._unpacked = 0

    async def read(self) -> bytes:
        while True:
            if not self._input:
                self._input = await self._packed.read()
            if not self._input:
                if not self._stream.eof:
                    raise ArchiveInvalid("the archive ends in the middle of gzip data")
                return b""
            if data := await run_in_pool(self._unpack):
                return data

    def _unpack(self) -> bytes:
        """A block, or less if there is no more of what was read."""
        unpacked = bytearray()
        rest = memoryview(self._input)
        while rest and len(unpacked) < _BLOCK_BYTES:
            if self._stream.eof:
                self._begin_member()
            part = rest[:_PACKED_BYTES]
            try:
                data = self._stream.decompress(part, _BLOCK_BYTES - len(unpacked))
            except zlib.error as error:
                raise ArchiveInvalid("the archive has broken gzip data") from error
            left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            rest = rest[len(part) - len(left) :]
            unpacked += data
            self._unpacked += len(data)
        self._input = bytes(rest)
        return bytes(unpacked)

    def _begin_member(self) -> None:
        """Gzip files may follow each other; what is unpacked has to be worth it."""
        self._members += 1
        if self._members > _FREE_MEMBERS + self._unpacked // _LEAST_MEMBER_BYTES:
            raise ArchiveInvalid(f"the archive is {self._members} pieces of gzip data with hardly anything in them")
        self._stream = zlib.decompressobj(_GZIP_WINDOW)


class ArchiveStream:
    """The archive's bytes, read in the portions that its format asks for."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    @classmethod
    async def open(cls, fd: int) -> ArchiveStream:
        """Over a descriptor, which stays the caller's; gzip is recognised. Raises ArchiveInvalid, OSError."""
        file = FileBlocks(fd)
        first = await file.read()
        if not first:
            raise ArchiveInvalid("the archive is empty")
        if not first.startswith(_GZIP_MAGIC):
            _refuse_other(first)
            stream = cls(file)
            stream._rest = memoryview(first)
            return stream
        return cls(GunzipBlocks(file, first))

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


def _refuse_other(first: bytes) -> None:
    for magic, name in _OTHERS.items():
        if first.startswith(magic):
            raise ArchiveInvalid(f"the archive is packed by {name}: unpack it first, to a tar file or gzip")
