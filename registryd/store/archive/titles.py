"""The names of an archive's images: as the archive says itself, or as the importing user says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.oci.errors import OciError
from registryd.oci.image_layout import INDEX_FILE
from registryd.oci.reference import DigestedName, FullName, Repository, Tag, TaggedName
from registryd.oci.referrers import is_attached_tag
from registryd.store.archive.errors import ArchiveInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.image_layout import IndexEntry
    from registryd.oci.manifest import Manifest

Given = FullName | Repository | None
"""The name of the archive's one image; the repository that all of them are of; or nothing: it says them itself."""


@dataclass(frozen=True, slots=True)
class Titles:
    """Images by name, referrers included, and images without a name.

    `attached`: the names of referrers, as the archive itself says.
    """

    images: Mapping[FullName, Descriptor]
    unnamed: tuple[Descriptor, ...] = ()
    attached: frozenset[FullName] = frozenset()


def titles_of(
    index: Sequence[IndexEntry],
    manifests: Mapping[Digest, Manifest],
    given: Given,
    *,
    attached: Sequence[IndexEntry] = (),
) -> Titles:
    """The names of the archive's images, and the referrers that it lists. Raises ArchiveInvalid."""
    images = list(_images(index, manifests))
    if isinstance(given, TaggedName | DigestedName):
        own = [entry for entry in images if not _is_attached(entry)]
        tagged = {_name_in(given.repository, entry): entry.target for entry in images if _is_attached(entry)}
        moved = {_moved(entry.name, given.repository): entry.target for entry in attached if entry.name}
        return Titles({**moved, **tagged, given: _only_target(own, given)}, (), frozenset(moved) - {given})
    named: dict[FullName, Descriptor] = {}
    unnamed: dict[Descriptor, None] = {}
    for entry in images:
        name = entry.name or (_name_in(given, entry) if given else None)
        if name is None:
            unnamed[entry.target] = None
        else:
            _give(named, name, entry.target)
    if not named:
        raise ArchiveInvalid(
            "the archive does not say the full name of any image: give it, --name registry/repository:tag, "
            "or --name registry/repository for all of them"
        )
    called = set(named.values())
    others = tuple(target for target in unnamed if target not in called)
    for entry in attached:
        if entry.name:
            _give(named, entry.name, entry.target)
    return Titles(named, others, frozenset(entry.name for entry in attached if entry.name))


def _give(named: dict[FullName, Descriptor], name: FullName, target: Descriptor) -> None:
    if named.setdefault(name, target) != target:
        raise ArchiveInvalid(f"{INDEX_FILE} of the archive gives {name} two meanings")


def _images(index: Sequence[IndexEntry], manifests: Mapping[Digest, Manifest]) -> Iterator[IndexEntry]:
    """Entries with a name or a tag, and entries that no index leads to and that are about no other image."""
    led_to = {child.digest for manifest in manifests.values() for child in manifest.children}
    for entry in index:
        manifest = manifests.get(entry.target.digest)
        is_about_another = manifest is not None and manifest.subject is not None
        if entry.name or entry.tag or not (entry.target.digest in led_to or is_about_another):
            yield entry


def _is_attached(entry: IndexEntry) -> bool:
    """Whether the tag of the entry says that the entry is no image of its own."""
    try:
        return is_attached_tag(Tag(entry.tag))
    except OciError:
        return False


def _only_target(images: Sequence[IndexEntry], given: TaggedName | DigestedName) -> Descriptor:
    targets = {entry.target for entry in images}
    if len(targets) != 1:
        raise ArchiveInvalid(
            f"--name {given} is for one image, and the archive has {len(targets)}; "
            f"--name {given.repository} would name them all by their tags"
        )
    (target,) = targets
    if isinstance(given, DigestedName) and given.digest != target.digest:
        raise ArchiveInvalid(f"the archive's image is {target.digest}, not {given.digest}")
    return target


def _moved(name: FullName, repository: Repository) -> FullName:
    """The same name in another repository."""
    if isinstance(name, TaggedName):
        return TaggedName(repository, name.tag)
    return DigestedName(repository, name.digest)


def _name_in(repository: Repository, entry: IndexEntry) -> FullName:
    """The name by tag. An image without a tag is named by digest."""
    try:
        return TaggedName(repository, Tag(entry.tag))
    except OciError:
        return DigestedName(repository, entry.target.digest)
