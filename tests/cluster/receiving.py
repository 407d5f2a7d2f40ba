"""What a node's containerd is receiving, as a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.content.growing import GrowingContent
from registryd.content.source import Content, ContentNotFound, StoreUnavailable
from registryd.oci.descriptor import OCI_MANIFEST, OCTET_STREAM, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from registryd.transfer.inflow import Inflows

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
# As a store has it (registryd.transfer.growing).
SILENCE_SECONDS = 15.0


def layer(number: int) -> Digest:
    return Digest.of(f"layer {number}".encode())


def manifest(*sizes: int) -> Manifest:
    """Of layers of these sizes, from layer 0 on."""
    return Manifest(
        OCI_MANIFEST, tuple(Descriptor(OCTET_STREAM, layer(number), size) for number, size in enumerate(sizes))
    )


@dataclass
class Ingest:
    size: int
    available: int = 0
    grown_at: float = 0.0


@dataclass
class OwnStore:
    """This node's: ingests, and what is whole. `tell` is called when an ingest begins or ends."""

    inflows: Inflows = field(default_factory=Inflows)
    tell: Callable[[], None] = lambda: None
    looks: int = 0
    is_unreadable: bool = False
    _ingests: dict[Digest, Ingest] = field(default_factory=dict)
    _whole: dict[Digest, int] = field(default_factory=dict)

    def begin(self, digest: Digest, size: int) -> None:
        self._ingests[digest] = Ingest(size, grown_at=now())
        self.tell()

    def grow(self, digest: Digest, count: int) -> None:
        ingest = self._ingests[digest]
        ingest.available, ingest.grown_at = ingest.available + count, now()

    def commit(self, digest: Digest) -> None:
        self._whole[digest] = self._ingests.pop(digest).size
        self.tell()

    def give_up(self, digest: Digest) -> None:
        del self._ingests[digest]
        self.tell()

    async def find(self, digest: Digest) -> Content:
        self.looks += 1
        await asyncio.sleep(0)
        if self.is_unreadable:
            raise StoreUnavailable("containerd's files cannot be read here")
        if digest in self._whole:
            return Content(digest, self._whole[digest], None)
        if digest not in self._ingests:
            raise ContentNotFound("nothing of it arrives here")
        ingest, inflow = self._ingests[digest], self.inflows.of(digest)
        available = inflow.reach(ingest.available) if inflow else ingest.available
        return GrowingContent(digest, ingest.size, None, min(available, ingest.size))

    async def arriving(self, digest: Digest) -> GrowingContent:
        content = await self.find(digest)
        if not isinstance(content, GrowingContent):
            raise ContentNotFound("all of it is here")
        return content

    async def find_moving(self, digest: Digest) -> Content:
        content = await self.find(digest)
        if isinstance(content, GrowingContent) and now() - self._ingests[digest].grown_at > SILENCE_SECONDS:
            raise ContentNotFound("nothing of it has come for long")
        return content


def now() -> float:
    return asyncio.get_running_loop().time()
