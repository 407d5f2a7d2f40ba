"""A small file beside the content, for the program that serves it: knowledge that it needs again after a restart."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.store.directory.durable import replace_file
from registryd.store.directory.errors import reading, writing
from registryd.store.directory.folders import folder, read_file
from registryd.store.directory.pool import run_writing

if TYPE_CHECKING:
    from registryd.store.directory.layout import Layout


class Note:
    """One file in the root of a layout, which the specification lets hold other things; of one process at a time."""

    def __init__(self, layout: Layout, name: str, *, limit: int) -> None:
        """`limit` is in bytes: what is larger was not written by us."""
        self._layout = layout
        self._name = name
        self._limit = limit

    def __str__(self) -> str:
        return str(self._layout.root / self._name)

    async def read(self) -> bytes:
        """The last written note. Raises ContentNotFound or StoreUnavailable."""
        return await run_writing(self._read)

    async def write(self, data: bytes) -> None:
        """Replace it, at once and durably. Raises StoreFull or StoreUnavailable."""
        await run_writing(partial(self._write, data))

    def _read(self) -> bytes:
        with reading(self), folder(self._layout.root) as parent:
            return read_file(parent, self._name, limit=self._limit)

    def _write(self, data: bytes) -> None:
        with writing(self), folder(self._layout.root) as parent:
            replace_file(parent, self._name, data)
