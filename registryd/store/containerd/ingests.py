"""What containerd is receiving right now, found by digest in its ingest folder."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from registryd.oci.digest import Digest
    from registryd.store.containerd.route import Route

# What a pull calls its ingests, by what the descriptor says that the content is (remotes.MakeRefKey).
_KINDS: Final = ("layer", "config", "manifest", "index", "unknown")
# containerd counts what it begins under one name, in a record that goes when the ingest does: it is always the first
# (metadata.contentStore.Writer; tried with 1.6.20, 1.7.24 and 2.1.9 after removed, cancelled and failed pulls).
_SEQUENCE: Final = 1
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Decimal digits of a size of 63 bits.
_TOTAL_BYTES: Final = 19


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

    def _folders(self, root: Path, digest: Digest) -> Iterator[str]:
        for namespace in self._namespaces:
            for kind in _KINDS:
                name = f"{namespace}/{_SEQUENCE}/{kind}-{digest}"
                yield f"{root}/ingest/{hashlib.sha256(name.encode()).hexdigest()}"


def _open(folder: str) -> tuple[int, int]:
    """Raises FileNotFoundError too when the ingest ends meanwhile: the folder goes, `total` before or after `data`."""
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
    with open(f"{folder}/total", "rb", buffering=0, opener=lambda path, _: os.open(path, _FLAGS)) as file:
        text = file.read(_TOTAL_BYTES)
    if not text.isdigit():
        raise StoreUnavailable("containerd's note of an ingest's size cannot be read")
    return int(text)
