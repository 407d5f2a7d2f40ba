"""Layers made from nothing: a tar with one file of a given size, and further files if wanted."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lab.layout import Blob, HashingWriter
from lab.noise import MadeUp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

    from lab.layout import Layout

TAR = "application/vnd.oci.image.layer.v1.tar"
TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class LayerFile:
    path: str
    content: bytes
    mode: int = 0o755


@dataclass(frozen=True)
class LayerRecipe:
    size: int  # bytes of the made-up file; a layer that is gzipped and compressible becomes smaller
    compressible: bool = False
    gzipped: bool = True
    files: tuple[LayerFile, ...] = ()

    @property
    def media_type(self) -> str:
        return TAR_GZIP if self.gzipped else TAR


@dataclass(frozen=True)
class Layer:
    blob: Blob
    diff_id: str  # digest of the tar before compression


def write_layer(recipe: LayerRecipe, layout: Layout, *, seed: str) -> Layer:
    """Add the layer to the layout. The same recipe and seed always give the same digest."""
    with layout.adding() as writer:
        diff_id = _write_tar(recipe, writer, seed)
    return Layer(Blob(recipe.media_type, writer.digest, writer.size), diff_id)


def _write_tar(recipe: LayerRecipe, target: HashingWriter, seed: str) -> str:
    with _compressed(recipe, target) as plain:
        with tarfile.open(mode="w|", fileobj=cast("IO[bytes]", plain)) as tar:
            _add(tar, f"data/{seed}", recipe.size, MadeUp(seed, compressible=recipe.compressible))
            for file in recipe.files:
                _add(tar, file.path, len(file.content), io.BytesIO(file.content), mode=file.mode)
        return plain.digest


@contextlib.contextmanager
def _compressed(recipe: LayerRecipe, target: HashingWriter) -> Iterator[HashingWriter]:
    if not recipe.gzipped:
        yield target
        return
    level = 1 if recipe.compressible else 0  # noise does not get smaller: no seconds spent on trying
    output = cast("IO[bytes]", target)
    with gzip.GzipFile(filename="", mode="wb", fileobj=output, mtime=0, compresslevel=level) as file:
        yield HashingWriter(cast("BinaryIO", file))


def _add(tar: tarfile.TarFile, path: str, size: int, content: MadeUp | io.BytesIO, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, mode
    tar.addfile(entry, cast("IO[bytes]", content))
