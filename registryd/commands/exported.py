"""Which images of a store are to be exported: those that were named, those of a list, or all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registryd.content.reading import read_content
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.descriptor import Descriptor
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.oci.reference import DigestedName, TaggedName
from registryd.oci.referrers import attached_tags, is_attached_name, referrers_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.directory.store import DirectoryStore


@dataclass(frozen=True, slots=True)
class Selection:
    """Images by name, manifests that no name leads to, and a line about each that was wanted and is not there."""

    images: Mapping[FullName, Descriptor]
    unnamed: tuple[Descriptor, ...] = ()
    absent: tuple[str, ...] = ()


async def select(store: DirectoryStore, names: Iterable[FullName], listed: Iterable[ImageName]) -> Selection:
    """These; of an image that a list names by tag and digest, the digest counts."""
    images: dict[FullName, Descriptor] = {}
    absent: list[str] = []
    for name in names:
        if target := await _target(store, name):
            images[name] = target
        else:
            absent.append(f"{name} is not in the store")
    for image in listed:
        first, *others = image.names
        if target := await _target(store, first):
            images[first] = target
            images |= {name: target for name in others if await _target(store, name) == target}
        else:
            absent.append(f"{image} is not in the store")
    return Selection(images, absent=tuple(absent))


async def select_all(store: DirectoryStore) -> Selection:
    """All that have a name; and whatever manifest none of them leads to, unless another such one does."""
    images = {}
    for name in await store.names():
        if target := await _target(store, name):
            images[name] = target
    return Selection(images, tuple(await _unreached(store, images.values())))


async def with_attached(store: DirectoryStore, selection: Selection) -> Selection:
    """The same, and what is attached to these images, as far as it is known; that it is not known is said."""
    images, absent = dict(selection.images), list(selection.absent)
    for name, target in selection.images.items():
        if is_attached_name(name):
            continue
        found = await _attached(store, name.repository, target)
        if TaggedName(name.repository, referrers_tag(target.digest)) not in found:
            absent.append(f"{name}: what is attached to it is not known here (prefetch --referrers finds out)")
        images |= found
    return replace(selection, images=images, absent=tuple(absent))


async def _attached(store: DirectoryStore, repository: Repository, image: Descriptor) -> dict[FullName, Descriptor]:
    """Lists of what is attached to an image, to parts of it, and to what is attached, and cosign's tags, by name."""
    found: dict[FullName, Descriptor] = {}
    seen, waiting = set(), [image.digest]
    while waiting:
        if (digest := waiting.pop()) in seen:
            continue
        seen.add(digest)
        waiting += [child.digest for child in await _children(store, digest) if is_manifest_type(child.media_type)]
        for tag in (referrers_tag(digest), *attached_tags(digest)):
            name = TaggedName(repository, tag)
            if target := await _target(store, name):
                found[name] = target
                waiting.append(target.digest)
    return found


async def _children(store: DirectoryStore, digest: Digest) -> Sequence[Descriptor]:
    try:
        return parse_manifest(await read_content(store, digest, limit=MAX_MANIFEST_SIZE)).children
    except (ContentUnavailable, ManifestInvalid):
        return ()


async def _unreached(store: DirectoryStore, images: Iterable[Descriptor]) -> list[Descriptor]:
    every = await store.manifests()
    reached, waiting = set(), [image.digest for image in images]
    while waiting:
        if (digest := waiting.pop()) not in reached:
            reached.add(digest)
            waiting += [child.digest for child in every[digest].children] if digest in every else []
    besides = {digest: manifest for digest, manifest in every.items() if digest not in reached}
    led_to = {child.digest for manifest in besides.values() for child in manifest.children}
    sizes = {digest: (await store.find(digest)).size for digest in besides if digest not in led_to}
    return [Descriptor(besides[digest].media_type, digest, size) for digest, size in sorted(sizes.items())]


async def _target(store: DirectoryStore, name: FullName) -> Descriptor | None:
    """What the name means, newest first; content that is here may always be called by what it is."""
    if known := await store.resolve(name):
        return max(known, key=lambda meaning: meaning.seen_at).target
    if isinstance(name, DigestedName):
        try:
            content = await store.find(name.digest)
        except ContentNotFound:
            return None
        if content.media_type and is_manifest_type(content.media_type):
            return Descriptor(content.media_type, name.digest, content.size)
    return None
