"""The content that containerd is receiving now, found by digest in its ingest folder, or listed."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from registryd.aio.folder_events import FolderEvents
from registryd.content.growing import Began, OngoingIngest
from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from registryd.aio.file_events import FileEvents
    from registryd.store.containerd.route import Route

# The names that a pull gives its ingests, by the type of the content in the descriptor (remotes.MakeRefKey).
_KINDS: Final = ("layer", "config", "manifest", "index", "unknown")
# containerd counts what it begins under one name, in a record that goes when the ingest does: it is always the first
# (metadata.contentStore.Writer; tried with 1.6.20, 1.7.24 and 2.1.9 after removed, cancelled and failed pulls).
_SEQUENCE: Final = 1
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Decimal digits of a size of 63 bits.
_TOTAL_BYTES: Final = 19
_NAME: Final = re.compile(rf"(?P<namespace>[^/]+)/{_SEQUENCE}/(?:{'|'.join(_KINDS)})-(?P<digest>[a-z0-9]+:[0-9a-f]+)")
# Longer than any name of the kind.
_NAME_BYTES: Final = 512


class Ingests:
    """Opens `ingest/<sha256 of the name>/data`, where the name is `<namespace>/<sequence>/<kind>-<digest>`.

    The folder follows from the digest, so nothing is listed, watched or remembered: a question costs a few opens that
    fail, some 20 µs. Only pulls have such names, and only those of shared namespaces are looked for.
    """

    def __init__(self, route: Route, namespaces: Sequence[str]) -> None:
        self._route = route
        self._namespaces = tuple(namespaces)

    def open(self, digest: Digest) -> tuple[int, int]:
        """A new descriptor of the growing file, and the size that it will have.

        Raises ContentNotFound for what is not being received, or has no size yet; StoreUnavailable when that cannot be
        seen.
        """
        roots = self._route.roots
        if not roots:
            raise StoreUnavailable("containerd's files cannot be read here")
        for root in roots:
            for folder in self._folders(root, digest):
                with suppress(FileNotFoundError, NotADirectoryError):
                    return _open(folder)
        raise ContentNotFound("containerd is not receiving it")

    def look(self, digest: Digest) -> OngoingIngest | None:
        """The ingest that `open` would open; None when there is none, or it cannot be seen."""
        for root in self._route.roots:
            for folder in self._folders(root, digest):
                with suppress(OSError):
                    data = os.lstat(f"{folder}/data")
                    began = os.lstat(f"{folder}/startedat").st_mtime_ns
                    return OngoingIngest(Began(data.st_dev, data.st_ino, began), data.st_size)
        return None

    def whole(self, digest: Digest) -> os.stat_result | None:
        """The file that content has become; None when it is not there, or cannot be seen."""
        for root in self._route.roots:
            with suppress(OSError):
                return os.lstat(f"{root}/blobs/{digest.algorithm}/{digest.encoded}")
        return None

    def arriving(self, root: Path) -> frozenset[Digest]:
        """All ingests that `open` would find in a content folder; reads a small file for each. Raises OSError."""
        found = set()
        folders: list[str] = []
        with suppress(FileNotFoundError):
            folders = os.listdir(self.folder(root))  # noqa: PTH208 - names are all that is wanted
        for name in folders:
            # It may end meanwhile; or have begun this instant, and then there is another look.
            with suppress(FileNotFoundError, NotADirectoryError, DigestInvalid):
                match = _NAME.fullmatch(_read(f"{self.folder(root)}/{name}/ref", _NAME_BYTES).decode(errors="replace"))
                if match and match["namespace"] in self._namespaces:
                    found.add(Digest.parse(match["digest"]))
        return frozenset(found)

    @staticmethod
    def folder(root: Path) -> Path:
        """Where names come and go as ingests do."""
        return root / "ingest"

    def _folders(self, root: Path, digest: Digest) -> Iterator[str]:
        for name in _names(self._namespaces, digest):
            yield f"{root}/ingest/{name}"


class IngestEvents:
    """Tells when containerd begins or ends to receive something (`registryd.aio.file_events.Changes`)."""

    def __init__(self, route: Route, events: FileEvents) -> None:
        self._route = route
        self._folders = FolderEvents(events)

    async def wait(self) -> None:
        # Which folder that is shows when there is content.
        self._folders.follow([Ingests.folder(root) for root in self._route.roots])
        await self._folders.wait()

    def tell(self) -> None:
        self._folders.tell()

    def close(self) -> None:
        """Watch nothing any more."""
        self._folders.close()


# A request looks at its ingest four times, and peers look at it too.
@lru_cache(maxsize=256)
def _names(namespaces: tuple[str, ...], digest: Digest) -> tuple[str, ...]:
    names = (f"{namespace}/{_SEQUENCE}/{kind}-{digest}" for namespace in namespaces for kind in _KINDS)
    return tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)


def _open(folder: str) -> tuple[int, int]:
    """Open the data of an ingest. Raises FileNotFoundError also when the ingest ends meanwhile.

    containerd removes `total` before `data`, or after it, and then the folder.
    """
    try:
        fd = os.open(f"{folder}/data", _FLAGS)
        try:
            return fd, _read_total(folder)
        except BaseException:
            os.close(fd)
            raise
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise StoreUnavailable(f"an ingest cannot be read: {error.strerror}") from error


def _read_total(folder: str) -> int:
    text = _read(f"{folder}/total", _TOTAL_BYTES)
    if not text.isdigit():
        raise StoreUnavailable("containerd's note of an ingest's size cannot be read")
    return int(text)


def _read(path: str, most: int) -> bytes:
    with open(path, "rb", buffering=0, opener=lambda path, _: os.open(path, _FLAGS)) as file:
        return file.read(most)
