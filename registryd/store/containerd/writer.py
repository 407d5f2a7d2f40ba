"""Putting content and names into containerd, as an import does."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from registryd.aio.scope import run_to_end
from registryd.content.source import ContentUnavailable
from registryd.content.writer import IngestInProgress
from registryd.pb.containerd import images_pb2, leases_pb2
from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.errors import AlreadyExists
from registryd.store.containerd.gc_labels import label_references
from registryd.store.containerd.ingest import ContainerdIngest, IngestRef
from registryd.store.containerd.timing import Timing
from registryd.store.socket import socket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from registryd.config.agent import StoreSettings
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName

# Of use only when we die: longer than any import, and gone by the next day.
_LEASE_LASTS: Final = timedelta(hours=24)


class ContainerdWriter:
    """A ContentWriter into one namespace; made by `open_containerd_writer`.

    Committed content is safe from the garbage collector for as long as the writer is open, and from then on if a name
    leads to it. containerd has no transactions: when `name` raises StoreUnavailable, some names may be set.
    """

    def __init__(self, connection: ContainerdConnection, *, namespace: str, lease: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._lease = lease
        self._in_progress: set[Digest] = set()

    async def begin(self, digest: Digest, *, size: int | None = None) -> ContainerdIngest:
        if digest in self._in_progress:
            raise IngestInProgress(str(digest))
        self._in_progress.add(digest)
        # The lease's name makes it ours alone: containerd lets only one at a time write to a ref.
        place = IngestRef(self._namespace, self._lease, f"{self._lease}-{digest}")
        ingest = ContainerdIngest(
            self._connection, digest, size, place=place, release=lambda: self._in_progress.discard(digest)
        )
        await ingest.begin()
        return ingest

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        for target in dict.fromkeys(targets.values()):
            await label_references(self._connection, target.digest, namespace=self._namespace)
        for name, target in targets.items():
            await self._set(_image(name, target))

    async def _set(self, image: images_pb2.Image) -> None:
        images = self._connection.images
        try:
            create = images_pb2.CreateImageRequest(image=image)
            await self._connection.change(images.Create, create, namespace=self._namespace)
        except AlreadyExists:
            update = images_pb2.UpdateImageRequest(image=image)
            update.update_mask.paths.append("target")
            await self._connection.change(images.Update, update, namespace=self._namespace)


@asynccontextmanager
async def open_containerd_writer(
    settings: StoreSettings, *, timing: Timing | None = None
) -> AsyncIterator[ContainerdWriter]:
    """A writer into the first of the shared namespaces, for the length of the block. Raises StoreUnavailable."""
    connection = ContainerdConnection(socket_of(settings), timing or Timing())
    try:
        async with _lease(connection, namespace=settings.namespaces[0]) as lease:
            yield ContainerdWriter(connection, namespace=settings.namespaces[0], lease=lease)
    finally:
        await connection.aclose()


@asynccontextmanager
async def _lease(connection: ContainerdConnection, *, namespace: str) -> AsyncIterator[str]:
    lease = f"registryd-import-{secrets.token_hex(8)}"
    expires_at = datetime.now(UTC) + _LEASE_LASTS
    labels = {"containerd.io/gc.expire": expires_at.isoformat(timespec="seconds")}
    request = leases_pb2.CreateRequest(id=lease, labels=labels)
    await connection.change(connection.leases.Create, request, namespace=namespace)
    try:
        yield lease
    finally:
        await run_to_end(_end_lease(connection, lease, namespace), name="end lease")


async def _end_lease(connection: ContainerdConnection, lease: str, namespace: str) -> None:
    request = leases_pb2.DeleteRequest(id=lease)
    with suppress(ContentUnavailable):  # then it expires
        await connection.ask(connection.leases.Delete, request, namespace=namespace, timeout=connection.timing.listing)


def _image(name: FullName, target: Descriptor) -> images_pb2.Image:
    image = images_pb2.Image(name=name.written)
    image.target.media_type = target.media_type
    image.target.digest = str(target.digest)
    image.target.size = target.size
    return image
