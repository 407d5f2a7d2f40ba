"""Write images of a store into an OCI archive: the same images always make the same bytes.

A list of its own names the referrers, because tools that do not know signatures take every name in index.json for an
image: `ctr images import` of containerd 1.6 unpacks it, and stops.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import (
    ATTACHED_FILE,
    BLOBS_FOLDER,
    INDEX_FILE,
    LAYOUT,
    LAYOUT_FILE,
    IndexEntry,
    render_index,
)
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.store.archive.attached import bare_lists
from registryd.store.archive.contents import contents_of
from registryd.store.archive.copying import copy_content
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from registryd.content.source import Content, ContentSource
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName
    from registryd.store.archive.contents import Contents
    from registryd.store.archive.copying import Write

# A tar archive ends with two blocks of zeros (POSIX pax, "ustar Interchange Format").
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """The plan of an archive: images, some perhaps without a name, their referrers, and all their content.

    `left_out`: images with missing content, and what is missing. `bare`: empty lists of referrers.
    """

    images: Mapping[FullName, Descriptor]
    contents: Contents
    unnamed: tuple[Descriptor, ...] = ()
    attached: Mapping[FullName, Descriptor] = field(default_factory=dict)
    bare: frozenset[FullName] = frozenset()
    left_out: Mapping[FullName, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    """The sizes of the present content, the manifests among it, and the unusable content with the reason."""

    damaged: dict[Digest, str]
    sizes: dict[Digest, int] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)

    def contents(self, targets: Iterable[Descriptor]) -> Contents:
        return contents_of(targets, sizes=self.sizes, manifests=self.manifests, damaged=self.damaged)

    def fault(self, target: Descriptor, *, partly: bool) -> str:
        """The parts that the target lacks. The text is empty when the target is whole."""
        lacking = [one for one in self.contents([target]).missing if not (partly and one.is_optional)]
        more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        return f"{lacking[0]}{more}" if lacking else ""


async def plan_archive(  # noqa: PLR0913 - all are named
    store: ContentSource,
    images: Mapping[FullName, Descriptor],
    *,
    partly: bool = False,
    unnamed: Sequence[Descriptor] = (),
    attached: Mapping[FullName, Descriptor] | None = None,
    damaged: Mapping[Digest, str] | None = None,
) -> ArchivePlan:
    """Find out which of these images are there. Without `partly` all platforms of an index have to be.

    Of what is attached all has to be there, and of a list all that it names. `damaged` is known to be of no use.
    """
    attached = attached or {}
    found = await _collect(store, [*images.values(), *unnamed, *attached.values()], damaged or {})
    faults = {target: found.fault(target, partly=partly) for target in {*images.values(), *unnamed}}
    faults |= {target: found.fault(target, partly=False) for target in {*attached.values()} - faults.keys()}
    besides = tuple(target for target in unnamed if not faults[target])
    whole, added = (
        {name: target for name, target in names.items() if not faults[target]} for names in (images, attached)
    )
    return ArchivePlan(
        whole,
        found.contents([*whole.values(), *besides, *added.values()]),
        besides,
        added,
        bare_lists(added, found.manifests),
        {name: faults[target] for name, target in {**images, **attached}.items() if faults[target]},
    )


async def write_archive(write: Write, store: ContentSource, plan: ArchivePlan) -> None:
    """Export the plan; `write` is a blocking function that takes all the bytes that it gets.

    Raises ArchiveIncomplete for what turns out to be damaged, ContentUnavailable, and whatever `write` raises.
    """
    unnamed = [IndexEntry(target) for target in sorted(plan.unnamed, key=lambda target: target.digest)]
    await _add_file(write, LAYOUT_FILE, LAYOUT)
    await _add_file(write, INDEX_FILE, render_index([*_entries(plan.images), *unnamed]))
    if plan.attached:
        await _add_file(write, ATTACHED_FILE, render_index(_entries(plan.attached)))
    for digest in sorted(plan.contents.there):
        await _add(write, store, plan.contents.there[digest])
    await run_in_pool(partial(write, _END))


def _entries(names: Mapping[FullName, Descriptor]) -> list[IndexEntry]:
    return [IndexEntry(names[name], name) for name in sorted(names, key=str)]


async def _collect(store: ContentSource, targets: Collection[Descriptor], damaged: Mapping[Digest, str]) -> _Found:
    """Collect the content of the targets, as far as the store has it."""
    found = _Found({**damaged})
    waiting = [target.digest for target in targets]
    seen: set[Digest] = set(damaged)
    while waiting:
        if (digest := waiting.pop()) in seen:
            continue
        seen.add(digest)
        try:
            content = await store.find(digest)
            found.sizes[digest] = content.size
            if manifest := await _read_manifest(store, content):
                found.manifests[digest] = manifest
                waiting += [child.digest for child in manifest.children]
        except ContentNotFound:
            continue
        except ContentUnavailable as error:
            found.damaged[digest] = f"cannot be read: {error}"
        except ArchiveIncomplete as error:
            found.damaged[digest] = error.why
    return found


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
    """The header of a file. Two headers differ only in path and size: content has no time, owner or mode."""
    info = tarfile.TarInfo(path)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
