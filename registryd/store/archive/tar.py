"""The files of a tar archive, as it streams by (POSIX pax and GNU formats).

The standard library's reader keeps every member in memory and reads extended headers whole, however large they
claim to be; its parser of single headers is used here.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits, Quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from registryd.store.archive.stream import ArchiveStream

_BLOCK: Final = tarfile.BLOCKSIZE
# Go's archive/tar, which most of these archives are written by, allows extended headers as much.
_MAX_HEADER_BYTES: Final = 1024 * 1024
# Digits of 2**63, the largest number that a record may hold; its length has no more.
_DIGITS: Final = 19
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_PAX: Final = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE})
_SPARSE_PREFIX: Final = b"GNU.sparse."


class NotRegular(ArchiveInvalid):
    """A link, a device or the like, at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path[:100]!r} in the archive is neither a file nor a folder")
        self.path = path


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A regular file of the archive, by its plain relative path."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class _Extended:
    """The statements of extended headers about the member that follows the headers."""

    path: str | None = None
    size: int | None = None


class TarReader:
    """Members in order; the bytes of each are taken before the next is asked for, or skipped."""

    def __init__(self, stream: ArchiveStream, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
        self._stream = stream
        self._unread = 0
        self._padding = 0
        self._headers = Quota(limits.headers, "headers")
        self._extended_bytes = Quota(limits.extended_bytes, "bytes of extended headers")
        self._records = Quota(limits.records, "records in extended headers")

    async def members(self) -> AsyncIterator[ArchiveFile]:
        """The regular files. Raises ArchiveInvalid for any entry that does not belong in an image archive."""
        extended = _Extended()
        while (header := await self._header()) is not None:
            if header.type in _PAX:
                extended = self._from_pax(await self._extension(header), extended)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                extended = replace(extended, path=_text((await self._extension(header)).rstrip(b"\0")))
            elif header.type == tarfile.XGLTYPE:
                _refuse_global(self._from_pax(await self._extension(header), _Extended()))
            else:
                if member := _member(header, extended):
                    self._expect(member.size)
                    yield member
                extended = _Extended()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the current member."""
        async for chunk in self._stream.chunks(self._unread):
            self._unread -= len(chunk)
            yield chunk

    async def contents(self, *, limit: int) -> bytes:
        """All bytes of the current member; raises ArchiveInvalid when there are more than `limit`."""
        if self._unread > limit:
            raise ArchiveInvalid(f"a file that should be small has {self._unread} bytes")
        return b"".join([chunk async for chunk in self.chunks()])

    def _expect(self, size: int) -> None:
        self._unread, self._padding = size, -size % _BLOCK

    async def _header(self) -> tarfile.TarInfo | None:
        async for _ in self._stream.chunks(self._unread + self._padding):
            pass
        self._expect(0)
        self._headers.spend(1)
        block = await self._stream.take(_BLOCK)
        if not any(block):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise ArchiveInvalid("not a tar archive, or a broken one") from error

    async def _extension(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= _MAX_HEADER_BYTES:
            raise ArchiveInvalid(f"the archive has an extended header of {header.size} bytes")
        self._extended_bytes.spend(header.size)
        self._expect(header.size)
        return await self.contents(limit=_MAX_HEADER_BYTES)

    def _from_pax(self, data: bytes, extended: _Extended) -> _Extended:
        path, size = extended.path, extended.size
        for key, value in _pax_records(data):
            self._records.spend(1)
            if key == b"path":
                path = _text(value)
            elif key == b"size":
                size = _number(value)
            elif key.startswith(_SPARSE_PREFIX):
                raise ArchiveInvalid("the archive has sparse files")
        return _Extended(path, size)


def _member(header: tarfile.TarInfo, extended: _Extended) -> ArchiveFile | None:
    path = _plain_path(header.name if extended.path is None else extended.path)
    size = header.size if extended.size is None else extended.size
    if header.type == tarfile.DIRTYPE:
        return None
    if header.type not in _FILES:
        raise NotRegular(path)
    if size < 0:
        raise ArchiveInvalid(f"{path[:100]!r} in the archive has a negative size")
    return ArchiveFile(path, size)


def _plain_path(name: str) -> str:
    path = name.removeprefix("./").rstrip("/")
    parts = path.split("/")
    if "\0" in name or ".." in parts or "" in parts[:-1] or name.startswith("/"):
        raise ArchiveInvalid(f"{name[:100]!r} in the archive leads out of it")
    return path


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The lines `length key=value`. The length counts itself (POSIX pax, "Extended Header")."""
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + _DIGITS + 1)
        end = start + _number(data[start : max(space, start)])
        key, equals, value = data[space + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(data):
            raise ArchiveInvalid("the archive has a broken extended header")
        yield key, value[:-1]
        start = end


def _refuse_global(extended: _Extended) -> None:
    if extended != _Extended():
        raise ArchiveInvalid("the archive has a header that gives all its files one name or size")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(text: bytes) -> int:
    if not (text.isdigit() and len(text) <= _DIGITS):
        raise ArchiveInvalid("the archive has a broken extended header")
    return int(text)
