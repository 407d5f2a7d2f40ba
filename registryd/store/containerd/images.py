"""The names of images here, and the manifest or index of each name."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from registryd.content.naming import Naming
from registryd.content.source import ContentNotFound, NamedContent
from registryd.oci.descriptor import Descriptor
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Registry, Repository, TaggedName, looks_like_host
from registryd.pb.containerd.images_pb2 import GetImageRequest, ListImagesRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from registryd.pb.containerd.images_pb2 import Image as ImageMessage
    from registryd.store.containerd.connection import ContainerdConnection

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Image:
    """A name in a namespace, its target, and when containerd last set it (seconds since the epoch).

    `is_by_hand`: no pull gave it, for a pull labels the target with the registry that it is from.
    """

    namespace: str
    name: str
    target: Descriptor
    updated_at: float
    is_by_hand: bool = False

    @property
    def repository(self) -> Repository | None:
        """The repository of the name; None for a name that is no registry's, as of a config's digest."""
        return _repository(self.name)


class Images:
    """The images of the shared namespaces.

    Besides `<registry>/<repository>:<tag>` containerd names an image by digest and by its config's digest; those are
    kept for their targets, and no TaggedName ever equals one.
    """

    def __init__(self, namespaces: Sequence[str]) -> None:
        self.namespaces = tuple(namespaces)
        self.are_listed = False
        """Whether all that there was has been taken in once."""
        self._images: dict[tuple[str, str], Image] = {}
        self._by: ImageIndex | None = None
        self._have_changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Image]:
        return iter(tuple(self._images.values()))

    def put(self, image: Image) -> None:
        """Add it, or what it means now. Once given by hand, it stays so: a pull of the same later adds a label."""
        before = self._images.get((image.namespace, image.name))
        if before is not None and before.is_by_hand and before.target.digest == image.target.digest:
            image = replace(image, is_by_hand=True)
        self._images[image.namespace, image.name] = image
        self._change()

    def drop(self, namespace: str, name: str) -> None:
        """Absent already is fine."""
        self._images.pop((namespace, name), None)
        self._change()

    def replace(self, namespace: str, images: Iterable[Image]) -> None:
        """These are all images of the namespace now."""
        named = {image.name: image for image in images}
        for _, name in [key for key in self._images if key[0] == namespace and key[1] not in named]:
            self.drop(namespace, name)
        for image in named.values():
            self.put(image)
        self._change()

    def targets(self) -> Iterator[Digest]:
        """The targets of the images, repeatedly when several images have the same one."""
        return (image.target.digest for image in self._images.values())

    def named(self, name: TaggedName) -> list[NamedContent]:
        """The meanings of the name in all namespaces that have it, however they write it."""
        found = sorted(self.by.tagged.get(name, ()), key=lambda image: self.namespaces.index(image.namespace))
        return [NamedContent(image.target, image.updated_at) for image in found]

    def namings(self) -> list[Naming]:
        """All names and meanings that `named` knows."""
        named = ((_tagged_name(image.name), image) for image in self._images.values())
        return [Naming(name, NamedContent(image.target, image.updated_at)) for name, image in named if name]

    @property
    def by(self) -> ImageIndex:
        """All that there is now, by what is asked for."""
        if self._by is None:
            self._by = ImageIndex(self._images.values())
        return self._by

    def _change(self) -> None:
        self._by = None
        self._have_changed.set()

    async def wait_changed(self) -> None:
        """Return when an image may have come, gone or changed since the last call. For one waiting task."""
        await self._have_changed.wait()
        self._have_changed.clear()


class ImageIndex:
    """Images by name, by target and by the host of their registry; made anew when they have changed."""

    def __init__(self, images: Iterable[Image]) -> None:
        self.tagged: dict[TaggedName, list[Image]] = {}
        self._targets: dict[Digest, list[Image]] = {}
        self._hosts: dict[str, set[Repository]] = {}
        self.has_any_by_hand = False
        for image in images:
            if tagged := _tagged_name(image.name):
                self.tagged.setdefault(tagged, []).append(image)
            if repository := image.repository:
                self._targets.setdefault(image.target.digest, []).append(image)
                self._hosts.setdefault(repository.registry.hostname, set()).add(repository)
                self.has_any_by_hand |= image.is_by_hand

    def of(self, target: Digest) -> frozenset[Repository]:
        """The repositories of the images that stand for this."""
        return frozenset(each.repository for each in self._targets.get(target, ()) if each.repository)

    def by_hand(self, target: Digest) -> frozenset[Repository]:
        """The names among these that a user gave by hand."""
        found = (each for each in self._targets.get(target, ()) if each.is_by_hand)
        return frozenset(each.repository for each in found if each.repository)

    def at(self, host: str) -> frozenset[Repository]:
        """The repositories of all images whose registries are on that host."""
        return frozenset(self._hosts.get(host, ()))


async def list_images(connection: ContainerdConnection, namespace: str) -> list[Image]:
    """All images of a namespace. Raises StoreUnavailable."""
    answer = await connection.ask(
        connection.images.List, ListImagesRequest(), namespace=namespace, timeout=connection.timing.listing
    )
    return [image for message in answer.images if (image := _image(namespace, message))]


async def get_image(connection: ContainerdConnection, namespace: str, name: str, *, timeout: float) -> Image | None:
    """One image, None when there is none of that name (any more). Raises StoreUnavailable."""
    request = GetImageRequest(name=name)
    try:
        answer = await connection.ask(connection.images.Get, request, namespace=namespace, timeout=timeout)
    except ContentNotFound:
        return None
    return _image(namespace, answer.image)


# All are looked at whenever one changes; a node has some hundreds.
@lru_cache(maxsize=4096)
def _repository(text: str) -> Repository | None:
    name, at, _ = text.partition("@")
    host, slash, path = name.partition("/")
    if not at:
        path = path.partition(":")[0]
    try:
        return Repository(Registry(host), path) if slash and looks_like_host(host) else None
    except OciError:
        return None


@lru_cache(maxsize=4096)
def _tagged_name(text: str) -> TaggedName | None:
    try:
        return TaggedName.parse(text)
    except OciError:
        return None


def _image(namespace: str, message: ImageMessage) -> Image | None:
    target = message.target
    try:
        descriptor = Descriptor(target.media_type, Digest.parse(target.digest), target.size)
    except OciError as error:
        # Such as a digest of an algorithm that registryd does not verify: not an image that can be shared.
        _log.debug("image %.200s is passed over: %s", message.name, error)
        return None
    return Image(namespace, message.name, descriptor, message.updated_at.seconds + message.updated_at.nanos / 1e9)
