"""The files of a tar archive, as it streams by (POSIX pax and GNU formats).

The standard library's reader keeps every member in memory and reads extended headers whole, however large they
claim to be; its parser of single headers is used here.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from registryd.store.archive.errors import ArchiveInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.store.archive.stream import ArchiveStream

_BLOCK: Final = tarfile.BLOCKSIZE
# Go's archive/tar, which most of these archives are written by, allows extended headers as much.
_MAX_HEADER_BYTES: Final = 1024 * 1024
# All that is no file of the image: headers, folders, and files that nobody reads, of which Docker's archives have some
# kilobytes.
_MAX_BESIDES: Final = 64 * 1024 * 1024
# `length `, of a record of at most _MAX_HEADER_BYTES and with room for zeros.
_MAX_LENGTH_DIGITS: Final = 20
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_PAX: Final = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE})
_SPARSE_PREFIX: Final = "GNU.sparse."


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of the archive, by its plain relative path."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class _Extended:
    """What extended headers say about the member that follows them."""

    path: str | None = None
    size: int | None = None


class TarReader:
    """Members in order; the bytes of each are taken before the next is asked for, or skipped."""

    def __init__(self, stream: ArchiveStream) -> None:
        self._stream = stream
        self._unread = 0
        self._padding = 0
        self._besides = 0

    async def members(self) -> AsyncIterator[Member]:
        """The regular files. Raises ArchiveInvalid for whatever has no business in an image archive."""
        extended = _Extended()
        while (header := await self._header()) is not None:
            if header.type in _PAX:
                extended = _from_pax(await self._extension(header), extended)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                extended = replace(extended, path=_text((await self._extension(header)).rstrip(b"\0")))
            elif header.type == tarfile.XGLTYPE:
                _refuse_global(_from_pax(await self._extension(header), _Extended()))
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
        self._count_besides(_BLOCK + self._unread)
        async for _ in self._stream.chunks(self._unread + self._padding):
            pass
        self._expect(0)
        block = await self._stream.take(_BLOCK)
        if not any(block):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise ArchiveInvalid("not a tar archive, or a broken one") from error

    def _count_besides(self, count: int) -> None:
        """Bytes that come to nothing: an archive is not read for ever for their sake."""
        self._besides += count
        if self._besides > _MAX_BESIDES:
            raise ArchiveInvalid(
                f"the archive has more than {_MAX_BESIDES >> 20} MiB that are no part of an OCI image; "
                "if docker save made it, before Docker 25, skopeo can convert it"
            )

    async def _extension(self, header: tarfile.TarInfo) -> bytes:
        if not 0 <= header.size <= _MAX_HEADER_BYTES:
            raise ArchiveInvalid(f"the archive has an extended header of {header.size} bytes")
        self._count_besides(header.size)
        self._expect(header.size)
        return await self.contents(limit=_MAX_HEADER_BYTES)


def _member(header: tarfile.TarInfo, extended: _Extended) -> Member | None:
    path = _plain_path(header.name if extended.path is None else extended.path)
    size = header.size if extended.size is None else extended.size
    if header.type == tarfile.DIRTYPE:
        return None
    if header.type not in _FILES:
        raise ArchiveInvalid(f"{path!r} in the archive is neither a file nor a folder")
    if size < 0:
        raise ArchiveInvalid(f"{path!r} in the archive has a negative size")
    return Member(path, size)


def _plain_path(name: str) -> str:
    path = name.removeprefix("./").rstrip("/")
    parts = path.split("/")
    if "\0" in name or ".." in parts or "" in parts[:-1] or name.startswith("/"):
        raise ArchiveInvalid(f"{name[:100]!r} in the archive leads out of it")
    return path


def _from_pax(data: bytes, extended: _Extended) -> _Extended:
    for key, value in _pax_records(data):
        if key == "path":
            extended = replace(extended, path=value)
        elif key == "size":
            extended = replace(extended, size=_number(value))
        elif key.startswith(_SPARSE_PREFIX):
            raise ArchiveInvalid("the archive has sparse files")
    return extended


def _pax_records(data: bytes) -> list[tuple[str, str]]:
    """`length key=value` lines, the length counting itself (POSIX pax, "Extended Header")."""
    records = []
    start = 0
    while start < len(data):
        # Nothing is copied but the record itself: there may be a hundred thousand.
        space = data.find(b" ", start, start + _MAX_LENGTH_DIGITS)
        length = _number(_text(data[start:space])) if space > start else 0
        key, equals, value = data[space + 1 : start + length].partition(b"=")
        if not length or not equals or not value.endswith(b"\n") or start + length > len(data):
            raise ArchiveInvalid("the archive has a broken extended header")
        records.append((_text(key), _text(value[:-1])))
        start += length
    return records


def _refuse_global(extended: _Extended) -> None:
    if extended != _Extended():
        raise ArchiveInvalid("the archive has a header that gives all its files one name or size")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):  # noqa: PLR2004 - digits of 2**63
        raise ArchiveInvalid("the archive has a broken extended header")
    return int(text)
