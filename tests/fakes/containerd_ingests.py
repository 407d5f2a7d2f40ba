"""What the fake containerd is receiving, in folders as containerd keeps them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.oci.digest import Digest
    from tests.fakes.containerd import FakeContainerd


@dataclass(frozen=True)
class FakeIngest:
    """A pull's ingest, begun when it is made; `total` None: its size is not known."""

    containerd: FakeContainerd
    digest: Digest
    total: int | None
    namespace: str = "k8s.io"
    kind: str = "layer"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "ref").write_text(self._name)
        (self.folder / "startedat").write_text("2026-11-28T04:00:00Z")
        if self.total is not None:
            (self.folder / "total").write_text(str(self.total))
        self.data.touch()

    @property
    def folder(self) -> Path:
        return self.containerd.root / "ingest" / hashlib.sha256(self._name.encode()).hexdigest()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, data: bytes) -> None:
        with self.data.open("ab") as file:
            file.write(data)

    def commit(self) -> None:
        blob = self.containerd.path(self.digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        self.data.rename(blob)
        blob.chmod(0o444)
        self.containerd.content[self.namespace][str(self.digest)] = None
        shutil.rmtree(self.folder)

    def abort(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def _name(self) -> str:
        return f"{self.namespace}/1/{self.kind}-{self.digest}"
