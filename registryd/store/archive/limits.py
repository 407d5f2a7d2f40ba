"""How much of anything an archive may have: it may come from a stranger, and no number in it is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from registryd.store.archive.errors import ArchiveInvalid

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Far above what real archives have, and low enough that the worst costs little time and memory.

    A thousand images for two platforms are some 25,000 blobs, with as many headers and twice as many references.
    """

    # 1.4 KiB each while it is being received (measured with 5,000).
    blobs: int = 100_000
    # Descriptors in manifests; half a KiB each (166 MiB were measured for all of these).
    references: int = 300_000
    # A blob has one, or three where its name or its size needs extended ones, which have some records each.
    headers: int = 400_000
    extended_bytes: int = 64 * _MIB
    records: int = 400_000
    # In files that are no content: licences, checksums, what Docker puts beside the images. Some kilobytes.
    other_bytes: int = 64 * _MIB
    # Layers are packed themselves, so an archive of them hardly shrinks; unpacked ones shrink to a third. Zeros shrink
    # to a thousandth, which is how a small file fills a disk. Up to the second number, any shrinking is harmless.
    growth: int = 100
    any_growth_bytes: int = 1024 * _MIB


class Quota:
    """So many of something, and no more."""

    def __init__(self, most: int, what: str) -> None:
        self._most = self._left = most
        self._what = what

    def spend(self, count: int) -> None:
        """Raises ArchiveInvalid when there are more than there may be."""
        self._left -= count
        if self._left < 0:
            raise ArchiveInvalid(f"the archive has more than {self._most} {self._what}")


DEFAULT_LIMITS = ArchiveLimits()
