"""Write images of a store into an OCI archive: the same images always make the same bytes."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import BLOBS_FOLDER, INDEX_FILE, LAYOUT, LAYOUT_FILE, Entry, render_index
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import is_referrers_tag
from registryd.store.archive.contents import contents_of
from registryd.store.archive.copying import copy_content
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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
class Plan:
    """What an archive will hold: images, some perhaps without a name, and all that they consist of.

    `left_out`: those of which something is not there, and what.
    """

    images: Mapping[FullName, Descriptor]
    contents: Contents
    unnamed: tuple[Descriptor, ...] = ()
    left_out: Mapping[FullName, str] = field(default_factory=dict)


async def plan_archive(
    store: ContentSource,
    images: Mapping[FullName, Descriptor],
    *,
    partly: bool = False,
    unnamed: Sequence[Descriptor] = (),
    whole_lists: bool = False,
) -> Plan:
    """Find out which of these images are there. Without `partly` all platforms of an index have to be.

    Of a list of referrers only with `whole_lists` all has to be there that it names. Raises ContentUnavailable.
    """
    targets = [*images.values(), *unnamed]
    sizes, manifests = await _collect(store, targets)
    lists = set() if whole_lists else {target for name, target in images.items() if _is_list(name)}
    _leave_out_incomplete(lists, sizes, manifests)
    faults = {
        target: _fault(contents_of([target], sizes=sizes, manifests=manifests), partly or target in lists)
        for target in {*targets}
    }
    whole = {name: target for name, target in images.items() if not faults[target]}
    besides = tuple(target for target in unnamed if not faults[target])
    return Plan(
        whole,
        contents_of([*whole.values(), *besides], sizes=sizes, manifests=manifests),
        besides,
        {name: faults[target] for name, target in images.items() if faults[target]},
    )


async def write_archive(write: Write, store: ContentSource, plan: Plan) -> None:
    """Export what is planned; `write` is a blocking function that takes all it is given.

    Raises ArchiveIncomplete for what turns out to be damaged, ContentUnavailable, and whatever `write` raises.
    """
    entries = [Entry(plan.images[name], name) for name in sorted(plan.images, key=str)]
    entries += [Entry(target) for target in sorted(plan.unnamed, key=lambda target: target.digest)]
    await _add_file(write, LAYOUT_FILE, LAYOUT)
    await _add_file(write, INDEX_FILE, render_index(entries))
    for digest in sorted(plan.contents.there):
        await _add(write, store, plan.contents.there[digest])
    await run_in_pool(partial(write, _END))


def _is_list(name: FullName) -> bool:
    return isinstance(name, TaggedName) and is_referrers_tag(name.tag)


def _leave_out_incomplete(
    lists: Collection[Descriptor], sizes: dict[Digest, int], manifests: Mapping[Digest, Manifest]
) -> None:
    """What lists name and what is not whole is not there: clients fetch what they need of it."""
    for each in lists:
        for child in manifests[each.digest].children if each.digest in manifests else ():
            if _fault(contents_of([child], sizes=sizes, manifests=manifests), partly=False):
                sizes.pop(child.digest, None)


def _fault(contents: Contents, partly: bool) -> str:  # noqa: FBT001 - of this module
    lacking = [one for one in contents.missing if not (partly and one.is_optional)]
    more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{lacking[0]}{more}" if lacking else ""


async def _collect(
    store: ContentSource, images: Collection[Descriptor]
) -> tuple[dict[Digest, int], dict[Digest, Manifest]]:
    """Sizes of all that the images consist of, as far as it is there, and the manifests among it."""
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
    return sizes, manifests


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
