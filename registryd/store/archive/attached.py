"""The referrers of an archive's images, by lists of them, which other tools' archives lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import is_attached_name, is_referrers_tag, referrers_tag
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import Quota

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registryd.content.source import NameSource
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository


# Images and their parts, each for every repository it is in; an archive of a thousand images has some ten thousand.
_MOST_STEPS: Final = 1_000_000
# A list repeats the annotations of what it lists, and registries need not take more than 4 MiB of a manifest. What is
# attached has a kilobyte or two, and is read again for every list that it is in.
_MOST_LIST_BYTES: Final = 4 * 1024 * 1024
_MOST_LISTED_BYTES: Final = 64 * 1024 * 1024


def without_attached(images: Mapping[FullName, Descriptor]) -> dict[FullName, Descriptor]:
    """Images only."""
    return {name: target for name, target in images.items() if not is_attached_name(name)}


def bare_lists(names: Mapping[FullName, Descriptor], manifests: Mapping[Digest, Manifest]) -> frozenset[TaggedName]:
    """The names among these that mean an empty list: it is known that there is nothing."""
    lists = {
        name: target for name, target in names.items() if isinstance(name, TaggedName) and is_referrers_tag(name.tag)
    }
    return frozenset(name for name, target in lists.items() if _is_bare(manifests.get(target.digest)))


async def without_known(
    store: NameSource, images: Mapping[FullName, Descriptor], manifests: Mapping[Digest, Manifest]
) -> dict[FullName, Descriptor]:
    """The same without empty lists where the store knows of referrers: these stay."""
    known = {name for name in bare_lists(images, manifests) if await store.resolve(name)}
    return {name: target for name, target in images.items() if name not in known}


def attached_lists(
    images: Mapping[FullName, Descriptor], manifests: Mapping[Digest, Manifest], there: Mapping[Digest, Descriptor]
) -> dict[TaggedName, Sequence[Descriptor]]:
    """The referrers to list, by the name of their list: manifests with a subject among the images and their parts.

    `manifests` are those of the archive, `there` all of its content that the store will have. Of subjects whose list is
    in the archive there is nothing to do. Raises ArchiveInvalid.
    """
    lists: dict[TaggedName, Sequence[Descriptor]] = {}
    attached = _by_subject(manifests, there)
    listed = Quota(_MOST_LISTED_BYTES, "bytes of manifests to list as attached (--no-referrers)")
    for repository, subject in _subjects(images, manifests, attached):
        name = TaggedName(repository, referrers_tag(subject))
        if name not in images:
            lists[name] = attached[subject]
            size = sum(each.size for each in attached[subject])
            listed.spend(size)
            if size > _MOST_LIST_BYTES:
                raise ArchiveInvalid(f"more is attached to {subject} than a list can have (--no-referrers)")
    return lists


def _is_bare(manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.media_type in INDEX_TYPES and not manifest.children


def _by_subject(
    manifests: Mapping[Digest, Manifest], there: Mapping[Digest, Descriptor]
) -> dict[Digest, list[Descriptor]]:
    attached: dict[Digest, list[Descriptor]] = {}
    for digest, manifest in manifests.items():
        if manifest.subject and digest in there:
            attached.setdefault(manifest.subject.digest, []).append(there[digest])
    return attached


def _subjects(
    images: Mapping[FullName, Descriptor],
    manifests: Mapping[Digest, Manifest],
    attached: Mapping[Digest, Sequence[Descriptor]],
) -> Iterator[tuple[Repository, Digest]]:
    """The images, and the attached content, to which something is attached, each with its repository."""
    seen = set()
    waiting = [(name.repository, target.digest) for name, target in images.items()]
    while waiting:
        if (one := waiting.pop()) in seen:
            continue
        seen.add(one)
        if len(seen) > _MOST_STEPS:
            raise ArchiveInvalid("its images are entangled too much to find what is attached (--no-referrers)")
        repository, digest = one
        if digest in manifests:
            waiting += [(repository, child.digest) for child in manifests[digest].children]
        if digest in attached:
            waiting += [(repository, each.digest) for each in attached[digest]]
            yield one
