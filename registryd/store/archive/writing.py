"""Write images of a store into an OCI archive: the same images always make the same bytes."""

from __future__ import annotations

import tarfile
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import BLOBS_FOLDER, INDEX_FILE, LAYOUT, LAYOUT_FILE, Entry, render_index
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.store.archive.contents import contents_of
from registryd.store.archive.copying import copy_content
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.transfer.pool import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from registryd.content.source import Content, ContentSource
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName
    from registryd.store.archive.contents import Contents, Missing
    from registryd.store.archive.copying import Write

# A tar archive ends with two blocks of zeros (POSIX pax, "ustar Interchange Format").
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


async def write_archive(
    write: Write, store: ContentSource, images: Mapping[FullName, Descriptor], *, partly: bool = False
) -> Contents:
    """Export these images; `write` is a blocking function that takes all it is given.

    Without `partly` the other platforms of an index have to be there as well. Raises ArchiveIncomplete, before the
    first byte is written if something is not there, ContentUnavailable, and whatever `write` raises.
    """
    contents = await _collect(store, images.values())
    _require(contents.missing, partly=partly)
    await _add_file(write, LAYOUT_FILE, LAYOUT)
    await _add_file(write, INDEX_FILE, render_index(Entry(images[name], name) for name in sorted(images, key=str)))
    for digest in sorted(contents.there):
        await _add(write, store, contents.there[digest])
    await run_in_pool(partial(write, _END))
    return contents


def _require(missing: Iterable[Missing], *, partly: bool) -> None:
    lacking = [one for one in missing if not (partly and one.is_optional)]
    if lacking:
        more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ArchiveIncomplete(f"{lacking[0]}{more}")


async def _collect(store: ContentSource, images: Collection[Descriptor]) -> Contents:
    """Find out what the images consist of, reading their manifests."""
    sizes: dict[Digest, int] = {}
    manifests: dict[Digest, Manifest] = {}
    waiting = [image.digest for image in images]
    seen: set[Digest] = set()
    while waiting:
        if (digest := waiting.pop()) in seen:
            continue
        seen.add(digest)
        try:
            content = await store.find(digest)
        except ContentNotFound:
            continue
        sizes[digest] = content.size
        if manifest := await _read_manifest(store, content):
            manifests[digest] = manifest
            waiting += [child.digest for child in manifest.children]
    return contents_of(images, sizes=sizes, manifests=manifests)


async def _read_manifest(store: ContentSource, content: Content) -> Manifest | None:
    if not is_manifest_type(content.media_type) or content.size > MAX_MANIFEST_SIZE:
        return None
    data = bytearray()
    await copy_content(store, content.digest, data.extend)
    try:
        return parse_manifest(bytes(data))
    except ManifestInvalid:
        return None


async def _add(write: Write, store: ContentSource, target: Descriptor) -> None:
    digest = target.digest
    await run_in_pool(partial(write, _header(f"{BLOBS_FOLDER}/{digest.algorithm}/{digest.encoded}", target.size)))
    await copy_content(store, digest, write)
    await run_in_pool(partial(write, _padding(target.size)))


async def _add_file(write: Write, path: str, data: bytes) -> None:
    await run_in_pool(partial(write, _header(path, len(data)) + data + _padding(len(data))))


def _header(path: str, size: int) -> bytes:
    """Nothing but path and size differs between two files: content has no time, owner or mode."""
    info = tarfile.TarInfo(path)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
