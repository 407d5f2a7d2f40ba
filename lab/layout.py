"""OCI image layouts: a folder of blobs by digest, and an index.json that says where to begin."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_REF_NAME = "org.opencontainers.image.ref.name"
_IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Blob:
    """Some content, named as OCI does: a descriptor."""

    media_type: str
    digest: str  # sha256:<hex>
    size: int  # bytes

    def descriptor(self, **more: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}


@dataclass(frozen=True)
class Layout:
    folder: Path

    def path(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.folder / "blobs" / algorithm / encoded

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def read_document(self, digest: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(digest))
        return document

    def add(self, media_type: str, content: bytes) -> Blob:
        with self.adding() as writer:
            writer.write(content)
        return Blob(media_type, writer.digest, writer.size)

    def add_document(self, media_type: str, document: Mapping[str, object]) -> Blob:
        return self.add(media_type, json.dumps(document, indent=2).encode())

    @contextlib.contextmanager
    def adding(self) -> Iterator[HashingWriter]:
        """A writer whose content has its digest for a name at the end of the block. Several may write at a time."""
        folder = self.folder / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".arriving-", delete=False) as file:
            writer = HashingWriter(cast("BinaryIO", file))
            yield writer
        Path(file.name).rename(self.path(writer.digest))
        self.path(writer.digest).chmod(0o644)

    def tag(self, root: Blob, tag: str, *, name: str = "") -> None:
        """Make `tag` the layout's one entry. Importers that know containerd's annotation call it by the `name`."""
        names = {_REF_NAME: tag, **({_IMAGE_NAME: name} if name else {})}
        entry = root.descriptor(annotations=names)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        (self.folder / "index.json").write_text(json.dumps(index, indent=2))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def archive(self, target: Path) -> Path:
        """Write the layout as one tar file, an OCI archive; the same layout always gives the same bytes."""
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                tar.add(path, arcname=str(path.relative_to(self.folder)), filter=_without_owner_and_time)
        return target


class HashingWriter:
    """Counts and hashes what it passes on."""

    def __init__(self, target: BinaryIO) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._target = target

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self._hash.update(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None:
        self._target.flush()


def _without_owner_and_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime, entry.mode = 0, 0o644
    return entry
