"""Which images of a store are to be exported: the named ones, the images of a list, or all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from registryd.content.reading import read_content
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.notation import counted
from registryd.oci.descriptor import Descriptor
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.oci.reference import DigestedName, TaggedName
from registryd.oci.referrers import attached_tags, is_attached_name, referrers_tag
from registryd.store.archive.attached import bare_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.directory.store import DirectoryStore


@dataclass(frozen=True, slots=True)
class Selection:
    """Images by name, their referrers, manifests to which no name leads; and lines about them.

    `absent`: a line about each image that was wanted and is not there. `notes`: lines about surprises for the user.
    """

    images: Mapping[FullName, Descriptor]
    attached: Mapping[FullName, Descriptor] = field(default_factory=dict)
    unnamed: tuple[Descriptor, ...] = ()
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def select(store: DirectoryStore, names: Iterable[FullName], listed: Iterable[ImageName]) -> Selection:
    """These; of an image that a list names by tag and digest, the digest counts, and the tag means the same."""
    images: dict[FullName, Descriptor] = {}
    absent: list[str] = []
    for name in names:
        if target := await _target(store, name):
            images[name] = target
        else:
            absent.append(f"{name} is not in the store")
    by_both = []
    for image in listed:
        first, *tags = image.names
        if target := await _target(store, first):
            images[first] = target
            by_both += [(image, tag, target) for tag in tags]
        else:
            absent.append(f"{image} is not in the store")
    notes = []
    # Last: what a tag means by itself is not to be changed by what it also stands beside.
    for image, tag, target in by_both:
        if images.setdefault(tag, target) != target:
            absent.append(
                f"the tag of {image}: {tag} means {images[tag].digest} here; by its digest the image is there"
            )
        elif (known := await _target(store, tag)) and known != target:
            notes.append(f"{tag} means {target.digest} there, as listed; here it means {known.digest} by now")
    return Selection(images, absent=tuple(absent), notes=tuple(notes))


async def select_all(store: DirectoryStore) -> Selection:
    """All that have a name; and whatever manifest none of them leads to, unless another such one does."""
    images: dict[FullName, Descriptor] = {}
    attached: dict[FullName, Descriptor] = {}
    every = await store.manifests()
    for name in await store.names():
        if target := await _target(store, name):
            (attached if _is_attached(name, every.get(target.digest)) else images)[name] = target
    return Selection(images, attached, tuple(await _unreached(store, every, [*images.values(), *attached.values()])))


async def with_attached(store: DirectoryStore, selection: Selection) -> Selection:
    """The same, and what is attached to these images, as far as it is known; that it is not known is said."""
    attached, absent = dict(selection.attached), list(selection.absent)
    for name, target in selection.images.items():
        if is_attached_name(name):
            continue
        found = await _attached(store, name.repository, target)
        if TaggedName(name.repository, referrers_tag(target.digest)) not in found:
            absent.append(f"{name}: its referrers are not known here (prefetch --referrers finds them)")
        attached |= {each: found[each] for each in found if each not in selection.images}
    return replace(selection, attached=attached, absent=tuple(absent))


async def without_attached(store: DirectoryStore, selection: Selection) -> Selection:
    """The same, and what is attached stays here; that there is some is said."""
    manifests = await store.manifests() if selection.attached else {}
    count = len(selection.attached.keys() - bare_lists(selection.attached, manifests))
    stays = (f"the images' referrers are left out, {counted(count, 'name')}: --referrers includes them",)
    return replace(selection, attached={}, notes=selection.notes + (stays if count else ()))


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


def _is_attached(name: FullName, manifest: Manifest | None) -> bool:
    """By its name; or by its own account, if nobody gave it another than its digest."""
    is_about_another = manifest is not None and manifest.subject is not None
    return is_attached_name(name) or (isinstance(name, DigestedName) and is_about_another)


async def _unreached(
    store: DirectoryStore, every: Mapping[Digest, Manifest], images: Iterable[Descriptor]
) -> list[Descriptor]:
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
