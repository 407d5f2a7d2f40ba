"""Put the images of an OCI archive into a store: all of them, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import ContentNotFound, ContentSource, NameSource
from registryd.content.writer import ContentMismatch, ContentWriter
from registryd.store.archive.attached import attached_lists, put_lists, without_attached
from registryd.store.archive.contents import contents_of
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits
from registryd.store.archive.staging import Staging
from registryd.store.archive.stream import ArchiveStream
from registryd.store.archive.tar import TarReader
from registryd.store.archive.titles import titles_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.reference import FullName
    from registryd.store.archive.contents import Contents, Missing
    from registryd.store.archive.titles import Given


class ImportTarget(ContentSource, NameSource, ContentWriter, Protocol):
    """A store that can be asked what it has, and takes content in."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came into the store: the names, images that have none, and all content; what is missing is optional."""

    images: Mapping[FullName, Descriptor]
    contents: Contents
    unnamed: tuple[Descriptor, ...] = ()


async def read_archive(
    fd: int,
    store: ImportTarget,
    *,
    name: Given = None,
    referrers: bool = True,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Imported:
    """Import from a descriptor, which stays the caller's; `name` says what the archive's images are called.

    `referrers`: what is attached to them is named as well, so that it is found.

    Raises ArchiveInvalid, OSError when the archive cannot be read, and StoreFull or StoreUnavailable.
    """
    async with Staging(store, limits) as staging:
        try:
            index = await staging.take_all(TarReader(await ArchiveStream.open(fd, limits), limits))
        except ContentMismatch as error:
            raise ArchiveInvalid(f"the archive is damaged: {error}") from error
        titles = titles_of(index, staging.manifests, name)
        contents = contents_of([entry.target for entry in index], sizes=staging.sizes, manifests=staging.manifests)
        await _require_complete(contents.missing, store)
        images = titles.images if referrers else without_attached(titles.images)
        # Before anything is in the store: what is wrong with the archive leaves nothing behind.
        lists = attached_lists(images, staging.manifests, contents.there) if referrers else {}
        for digest in contents.there:
            await staging.ingests[digest].commit()
        images = {**images, **await put_lists(store, lists)}
        await store.name(images)
    return Imported(images, contents, titles.unnamed)


async def _require_complete(missing: Iterable[Missing], store: ContentSource) -> None:
    """Whatever the archive may not lack must be in the store already."""
    for lacking in missing:
        if not lacking.is_optional and not await _has(store, lacking.target):
            raise ArchiveInvalid(f"the archive is incomplete: {lacking}")


async def _has(store: ContentSource, target: Descriptor) -> bool:
    try:
        return (await store.find(target.digest)).size == target.size
    except ContentNotFound:
        return False
