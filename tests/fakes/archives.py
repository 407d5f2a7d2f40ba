"""OCI archives as other tools write them, and as an attacker would."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

from tests.fakes.images import raw_descriptor

if TYPE_CHECKING:
    from tests.fakes.images import SampleImage

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'


class ArchiveBuilder:
    """A tar archive in memory, made member by member."""

    def __init__(self, *, tar_format: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tar_format)

    def file(self, path: str, data: bytes, *, mtime: float = 0) -> ArchiveBuilder:
        info = tarfile.TarInfo(path)
        info.size, info.mtime = len(data), mtime
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def special(self, path: str, kind: bytes, *, target: str = "") -> ArchiveBuilder:
        info = tarfile.TarInfo(path)
        info.type, info.linkname = kind, target
        self._tar.addfile(info)
        return self

    def image(self, image: SampleImage, *, without: frozenset[object] = frozenset()) -> ArchiveBuilder:
        for digest, data in image.blobs.items():
            if digest not in without:
                self.file(f"blobs/{digest.algorithm}/{digest.encoded}", data)
        return self

    def index(self, *images: SampleImage, name: str | None = None) -> ArchiveBuilder:
        """oci-layout and an index.json that names the images; `name` overrides, empty leaves them without."""
        entries = []
        for image in images:
            called = str(image.name) if name is None else name
            annotations = {"org.opencontainers.image.ref.name": called} if called else {}
            entries.append(raw_descriptor(image.target, annotations=annotations))
        self.file("oci-layout", LAYOUT)
        return self.file("index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    def build(self, *, packed: bool = False) -> bytes:
        self._tar.close()
        data = self._buffer.getvalue()
        return gzip.compress(data) if packed else data


def archive_of(*images: SampleImage, packed: bool = False) -> bytes:
    """A sound archive of these images."""
    builder = ArchiveBuilder()
    seen: set[object] = set()
    for image in images:
        builder.image(image, without=frozenset(seen))
        seen.update(image.blobs)
    return builder.index(*images).build(packed=packed)
