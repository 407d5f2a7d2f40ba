"""All blobs below a folder, by their names; the same in containerd's folder and in an OCI image layout."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.oci.digest import ALGORITHMS, Digest
from registryd.oci.errors import DigestInvalid
from registryd.store.local_files import is_local

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER: Final = "blobs"


class BlobFolder:
    """Lists `<root>/blobs/<algorithm>/<hex>`; a name is parsed once. Calls block: 10,000 names take milliseconds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, dict[str, Digest | None]] = {}
        self._is_local: bool | None = None

    def folders(self) -> list[Path]:
        """The folders whose entries decide what is here."""
        parent = self.root / _FOLDER
        return [parent, *(folder for name in ALGORITHMS if (folder := parent / name).is_dir())]

    def is_local(self) -> bool:
        """Whether only this machine writes to the folder. Raises OSError."""
        if self._is_local is None:
            self._is_local = is_local(self.root)
        return self._is_local

    def digests(self) -> frozenset[Digest]:
        """The digests in the folder; other names are passed over. Raises OSError for entries that cannot be read."""
        return frozenset(digest for name in ALGORITHMS for digest in self._list(name) if digest)

    def _list(self, algorithm: str) -> list[Digest | None]:
        known = self._known.get(algorithm, {})
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = os.listdir(self.root / _FOLDER / algorithm)  # noqa: PTH208 - names are all that is wanted
        now = {name: known[name] if name in known else _digest(algorithm, name) for name in names}
        self._known[algorithm] = now
        return list(now.values())


def _digest(algorithm: str, name: str) -> Digest | None:
    try:
        return Digest(algorithm, name)
    except DigestInvalid:
        return None
