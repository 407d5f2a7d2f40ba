"""The images of a containerd as ones that can be kept (`registryd.content.keepable`): pinned, and pulled by its CRI."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from registryd.content.keepable import ImageHere, KeptImage
from registryd.oci.errors import OciError
from registryd.oci.reference import TaggedName, parse_full_name
from registryd.store.containerd.pins import NAMESPACE, ContainerdPins, Reason
from registryd.store.containerd.pulling import open_puller

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.containerd.connection import ContainerdConnection
    from registryd.store.containerd.images import Images
    from registryd.store.containerd.pulling import PullSecret

# The space that an image takes unpacked, besides its compressed layers.
_UNPACKED: Final = 3


class KeepableImages:
    """Of containerd's CRI, so of one namespace."""

    def __init__(self, connection: ContainerdConnection, images: Images, socket: Path, root: Path) -> None:
        """`root` is containerd's, by which its disk is known if it is to be seen."""
        self._images = images
        self._pins = ContainerdPins(connection)
        self._socket = socket.absolute()
        self._content = root / "io.containerd.content.v1.content"
        self._have_changed = asyncio.Event()

    def tell(self) -> None:
        """Images may have changed."""
        self._have_changed.set()

    async def images(self) -> Collection[ImageHere]:
        """The images by tag, or by digest if they have no tag, as the image of a pod that names a digest."""
        named = [
            ImageHere(KeptImage(name, image.target.digest), image.updated_at)
            for image in self._images
            if image.namespace == NAMESPACE and (name := _full_name(image.name)) is not None
        ]
        tagged = {_what(each) for each in named if _is_tagged(each)}
        return [each for each in named if _is_tagged(each) or _what(each) not in tagged]

    async def wait_changed(self) -> None:
        await self._have_changed.wait()
        self._have_changed.clear()

    async def size_of(self, name: FullName) -> int | None:
        async with open_puller(self._socket) as puller:
            return await puller.size_of(name.written)

    async def kept(self) -> Collection[FullName]:
        found = [each.names.get(Reason.COPIES, frozenset()) for each in await self._pins.all()]
        names = (_full_name(name) for name in frozenset().union(*found))
        return [name for name in names if name is not None]

    async def keep(self, name: FullName) -> bool:
        return await self._pins.pin(name.written, Reason.COPIES)

    async def let_go(self, name: FullName) -> None:
        await self._pins.let_go(name.written, {Reason.COPIES})

    async def pull(self, name: FullName, secret: PullSecret | None) -> None:
        """Return when it is here, unpacked."""
        async with open_puller(self._socket) as puller:
            await puller.pull(name.written, secret)

    def has_room(self, size: int, *, most_used: float) -> bool:
        """Whether the disk is used less than that with so much more on it, as kubelets reckon: by what is available."""
        try:
            disk = os.statvfs(self._content)
        except OSError:
            return True  # it is not to be seen, and the budget has to do
        used = 1 - disk.f_bavail / max(1, disk.f_blocks)
        return used + size * _UNPACKED / max(1, disk.f_blocks * disk.f_frsize) <= most_used


def _what(each: ImageHere) -> tuple[Repository, Digest]:
    return each.image.name.repository, each.image.digest


def _is_tagged(each: ImageHere) -> bool:
    return isinstance(each.image.name, TaggedName)


def _full_name(text: str) -> FullName | None:
    """The name; None for a name that no registry has: that of a config's digest, or one with both tag and digest."""
    try:
        name = parse_full_name(text)
    except OciError:
        return None
    return name if name.written == text else None
