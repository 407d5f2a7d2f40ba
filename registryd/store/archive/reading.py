"""Put the images of an OCI archive into a store: all of them, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import ContentNotFound, ContentSource, NameSource
from registryd.content.writer import ContentMismatch, ContentWriter
from registryd.store.archive.attached import attached_lists, bare_lists, without_attached, without_known
from registryd.store.archive.contents import contents_of
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits
from registryd.store.archive.merging import merge_lists, put_lists
from registryd.store.archive.staging import Staging
from registryd.store.archive.stream import ArchiveStream
from registryd.store.archive.tar import TarReader
from registryd.store.archive.titles import titles_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName
    from registryd.store.archive.contents import Contents, Missing
    from registryd.store.archive.titles import Given, Titles


class ImportTarget(ContentSource, NameSource, ContentWriter, Protocol):
    """A store that can be asked what it has, and takes content in."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: the names, images without a name, and all content; missing content is optional content.

    `attached` are names of signatures and the like; `bare` are names of lists that are empty.
    """

    images: Mapping[FullName, Descriptor]
    contents: Contents
    unnamed: tuple[Descriptor, ...] = ()
    attached: Mapping[FullName, Descriptor] = field(default_factory=dict)
    bare: frozenset[FullName] = frozenset()


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
        besides = staging.attached if referrers else ()
        titles = titles_of(index, staging.manifests, name, attached=besides)
        targets = [entry.target for entry in (*index, *besides)]
        contents = contents_of(targets, sizes=staging.sizes, manifests=staging.manifests)
        await _require_complete(contents.missing, store)
        images = await without_known(store, titles.images, staging.manifests)
        if not referrers:
            images = without_attached(images)
        # Before anything is in the store: what is wrong with the archive leaves nothing behind.
        lists = attached_lists(images, staging.manifests, contents.there) if referrers else {}
        for digest in contents.there:
            await staging.ingests[digest].commit()
        images |= {**await merge_lists(store, images), **await put_lists(store, lists)}
        await store.name(images)
        return _imported(images, contents, titles, staging.manifests)


def _imported(
    images: Mapping[FullName, Descriptor], contents: Contents, titles: Titles, manifests: Mapping[Digest, Manifest]
) -> Imported:
    own = without_attached(images)
    # Of an artifact that names its subject, the digest is no name of an image.
    attached = {name: images[name] for name in images if name not in own or name in titles.attached}
    own = {name: target for name, target in own.items() if name not in attached}
    return Imported(own, contents, titles.unnamed, attached, bare_lists(attached, manifests))


async def _require_complete(missing: Iterable[Missing], store: ContentSource) -> None:
    """Require that the store has what the archive lacks, optional content excepted."""
    for lacking in missing:
        if not lacking.is_optional and not await _has(store, lacking.target):
            raise ArchiveInvalid(f"the archive is incomplete: {lacking}")


async def _has(store: ContentSource, target: Descriptor) -> bool:
    try:
        return (await store.find(target.digest)).size == target.size
    except ContentNotFound:
        return False
