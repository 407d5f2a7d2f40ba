"""Telling containerd's garbage collector what a manifest refers to: it does not read manifests, it follows labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.field_mask_pb2 import FieldMask

from registryd.content.source import ContentNotFound
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import Manifest, is_manifest_type, parse_manifest
from registryd.pb.containerd.content_pb2 import Info, UpdateRequest
from registryd.store.containerd.streams import BlobStreams

if TYPE_CHECKING:
    from registryd.oci.digest import Digest
    from registryd.store.containerd.connection import ContainerdConnection

# What follows is for people; containerd's own clients number the children as well.
REFERENCE: Final = "containerd.io/gc.ref.content."
_NOTHING: Final = Manifest(media_type="", children=())


async def label_references(connection: ContainerdConnection, target: Digest, *, namespace: str) -> None:
    """Label an image's target, and the manifests below it that are there, with what they refer to.

    Raises ContentNotFound when the target is not there, StoreUnavailable.
    """
    pending = await _label(connection, target, namespace)
    seen = {target}
    while pending:
        digest = pending.pop()
        if digest not in seen:
            seen.add(digest)
            pending += await _label_if_there(connection, digest, namespace)


async def _label_if_there(connection: ContainerdConnection, digest: Digest, namespace: str) -> list[Digest]:
    try:
        return await _label(connection, digest, namespace)
    except ContentNotFound:
        return []  # the manifest of another platform


async def _label(connection: ContainerdConnection, digest: Digest, namespace: str) -> list[Digest]:
    """Label one document; returns the documents among its children."""
    data = await BlobStreams(connection).read_document(digest, namespace)
    manifest = _manifest(data or b"")
    labels = {f"{REFERENCE}{number}": str(child.digest) for number, child in enumerate(manifest.children)}
    if labels:
        mask = FieldMask(paths=[f"labels.{label}" for label in labels])
        request = UpdateRequest(info=Info(digest=str(digest), labels=labels), update_mask=mask)
        await connection.change(connection.content.Update, request, namespace=namespace)
    return [child.digest for child in manifest.children if is_manifest_type(child.media_type)]


def _manifest(data: bytes) -> Manifest:
    try:
        return parse_manifest(data)
    except ManifestInvalid:
        return _NOTHING  # content that refers to nothing, as far as anyone can tell
