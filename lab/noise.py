"""Endless made-up content, the same for the same seed."""

from __future__ import annotations

import random

_BLOCK_BYTES = 1 << 20


class MadeUp:
    """As much of a file as tarfile needs: `read`. Never ends."""

    def __init__(self, seed: str, *, compressible: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it has to be the same again, not unpredictable
        self._compressible = compressible
        self._block = self._next_block()
        self._position = 0

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._read_from_block(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _read_from_block(self, size: int) -> bytes:
        if self._position == len(self._block):
            self._block, self._position = self._next_block(), 0
        part = self._block[self._position : self._position + size]
        self._position += len(part)
        return part

    def _next_block(self) -> bytes:
        if self._compressible:
            return self._random.randbytes(1024) * (_BLOCK_BYTES // 1024)
        return self._random.randbytes(_BLOCK_BYTES)
