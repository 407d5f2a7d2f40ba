"""Images that the kubelet's garbage collection passes by, by the label of containerd's CRI and one of registryd's.

The pinned name is the image's name by digest (`repository@digest`), which CRI gives to each image that it pulls. A pull
of the same tag replaces all labels of the tag's name, and no label of the name by digest. registryd's label says for
which names an image is pinned, and so that the pin is registryd's: registryd neither takes nor ends another program's
pin.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from registryd.content.source import ContentNotFound
from registryd.pb.containerd.images_pb2 import GetImageRequest, Image, ListImagesRequest, UpdateImageRequest
from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.timing import Timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from pathlib import Path

# containerd's CRI is in this namespace, whatever is shared with peers.
NAMESPACE: Final = "k8s.io"
# internal/cri/labels of containerd: what CRI's ImageStatus tells as `pinned`, when its value is this.
_PINNED: Final = "io.cri-containerd.pinned"
_PINNED_VALUE: Final = "pinned"
# Ours have the names that are pinned, separated by commas.
_OURS: Final = "registryd.pinned-for."
_LIST_PREFIX: Final = "list."
# As the chart's names of lists: each is part of a DaemonSet's name and of a label's value.
_LIST_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,28}[a-z0-9])?", re.ASCII)
# Of a label and its value, in containerd (pkg/labels).
_MOST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an image is pinned by us."""

    value: str

    LIST: ClassVar[Reason]
    """Somebody named it: a list of `registryd prefetch --pin` that has no name."""
    COPIES: ClassVar[Reason]
    """This node has one of the copies that the cluster keeps (images.keep)."""

    @classmethod
    def of_list(cls, name: str) -> Reason:
        """What a list of this name pins; "": the list that has none. Raises ValueError."""
        if name and not _LIST_NAME.fullmatch(name):
            raise ValueError("expected at most 30 lower-case letters, digits and -, with no - at an end")
        return cls(_LIST_PREFIX + name) if name else cls.LIST

    @property
    def is_list(self) -> bool:
        return self == Reason.LIST or self.value.startswith(_LIST_PREFIX)

    @property
    def list_name(self) -> str:
        """Of a list; "" where it has none."""
        return self.value.removeprefix(_LIST_PREFIX) if self != Reason.LIST else ""


Reason.LIST = Reason("list")
Reason.COPIES = Reason("copies")


@dataclass(frozen=True, slots=True)
class PinnedImage:
    """A pinned image, and the names for which registryd pinned it; without names another program pinned it."""

    record: str
    """Its name in containerd, mostly by digest."""
    names: Mapping[Reason, frozenset[str]] = field(default_factory=dict)


class ContainerdPins:
    """The pins in one containerd. Every method raises StoreUnavailable."""

    def __init__(self, connection: ContainerdConnection) -> None:
        self._connection = connection

    async def all(self) -> Sequence[PinnedImage]:
        """All that is pinned, sorted."""
        return sorted((_told(image) for image in await self._pinned()), key=lambda pinned: pinned.record)

    async def pin(self, name: str, reason: Reason) -> bool:
        """Pin what an image's name in containerd means now, instead of before; False when there is no such name."""
        image = await self._get(name)
        if image is None:
            return False
        target = await self._get(f"{_repository_of(name)}@{image.target.digest}") or image
        told = _told(target)
        if not _is_pinned(target) or told.names:
            names = told.names.get(reason, frozenset()) | {name}
            if names != told.names.get(reason) or not _is_pinned(target):
                label = _OURS + reason.value
                await self._set(target, {_PINNED: _PINNED_VALUE, label: _joined(label, names)})
        for other in await self._pinned():
            if other.name != target.name:
                await self._take(other, name, {reason})
        return True

    async def let_go(self, name: str, reasons: Collection[Reason] | None = None) -> bool:
        """Take this name from what is pinned for it, for these reasons of ours (None: all); whether it was."""
        return any([await self._take(image, name, reasons) for image in await self._pinned()])

    async def _take(self, image: Image, name: str, reasons: Collection[Reason] | None) -> bool:
        names = dict(_told(image).names)
        had = [reason for reason in names if name in names[reason] and (reasons is None or reason in reasons)]
        for reason in had:
            names[reason] -= {name}
        if had:
            labels = {_OURS + reason.value: names[reason] for reason in had}
            taken = {label: _joined(label, left) for label, left in labels.items()}
            await self._set(image, taken if any(names.values()) else {**taken, _PINNED: ""})
        return bool(had)

    async def _pinned(self) -> Sequence[Image]:
        request = ListImagesRequest(filters=[f'labels."{_PINNED}"=={_PINNED_VALUE}'])
        timeout = self._connection.timing.listing
        answer = await self._connection.ask(self._connection.images.List, request, namespace=NAMESPACE, timeout=timeout)
        return [image for image in answer.images if _is_pinned(image)]

    async def _get(self, name: str) -> Image | None:
        request, timeout = GetImageRequest(name=name), self._connection.timing.listing
        try:
            answer = await self._connection.ask(
                self._connection.images.Get, request, namespace=NAMESPACE, timeout=timeout
            )
        except ContentNotFound:
            return None
        return answer.image

    async def _set(self, image: Image, labels: Mapping[str, str]) -> None:
        """Set labels of an image. An empty value removes a label (core/metadata/boltutil of containerd).

        The time of the update stays: peers tell by it which meaning of a name is the newest. The target stays, too, and
        has to be present, because containerd reads it all the same.
        """
        changed = Image(name=image.name, labels=labels, target=image.target)
        request = UpdateImageRequest(image=changed, source_date_epoch=image.updated_at)
        request.update_mask.paths.extend(f"labels.{label}" for label in labels)
        try:
            await self._connection.change(self._connection.images.Update, request, namespace=NAMESPACE)
        except ContentNotFound:
            return  # it has gone meanwhile, and its labels with it


def _is_pinned(image: Image) -> bool:
    return image.labels.get(_PINNED) == _PINNED_VALUE


def _told(image: Image) -> PinnedImage:
    texts = {label.removeprefix(_OURS): text for label, text in image.labels.items() if label.startswith(_OURS)}
    ours = {Reason(value): frozenset(text.split(",")) for value, text in sorted(texts.items()) if text}
    return PinnedImage(image.name, ours)


def _joined(label: str, names: Collection[str]) -> str:
    """As many names as the label has room for. An image with more names is released with these."""
    text = ",".join(sorted(names))
    most = _MOST_BYTES - len(label)
    return text if len(text) <= most else text[:most].rpartition(",")[0]


def _repository_of(name: str) -> str:
    head, slash, last = name.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


@asynccontextmanager
async def open_pins(socket: Path) -> AsyncIterator[ContainerdPins]:
    """The pins of the containerd behind a socket, for the length of the block."""
    connection = ContainerdConnection(socket, Timing())
    try:
        yield ContainerdPins(connection)
    finally:
        await connection.aclose()


async def release_pins(socket: Path) -> int:
    """Let go of all that we have pinned; how many images that were. Raises StoreUnavailable."""
    async with open_pins(socket) as pins:
        ours = [pinned for pinned in await pins.all() if pinned.names]
        for name in frozenset().union(*(names for pinned in ours for names in pinned.names.values())):
            await pins.let_go(name)
    return len(ours)
