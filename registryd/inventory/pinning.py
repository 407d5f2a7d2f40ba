"""Pinning the images of a list in a node's containerd, which tells by its CRI whether it heeds that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import StoreUnavailable
from registryd.store.containerd.pins import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.store.containerd.pins import PinnedImage

# containerd's CRI hears of a label by an event, some milliseconds later.
_HEEDED_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02


class PinnedImages(Protocol):
    """`registryd.store.containerd.pins.ContainerdPins`."""

    async def all(self) -> Sequence[PinnedImage]: ...

    async def pin(self, name: str, reason: Reason) -> bool: ...

    async def let_go(self, name: str, reasons: Collection[Reason] | None = None) -> bool: ...


class Heeding(Protocol):
    """containerd's CRI. Raises ContentUnavailable."""

    async def is_pinned(self, name: str) -> bool:
        """Whether it says so of the image."""


class ListPinning:
    """A Pinning (`registryd.inventory.pulling`) of what a list names."""

    def __init__(self, pins: PinnedImages, cri: Heeding, reason: Reason = Reason.LIST) -> None:
        """`reason`: the list."""
        self._pins = pins
        self._reason = reason
        self._cri = cri

    async def pin(self, name: str) -> None:
        """Return when the image is pinned and containerd's CRI says so. Raises ContentUnavailable."""
        if not await self._pins.pin(name, self._reason):
            raise StoreUnavailable("it has gone again")
        try:
            async with asyncio.timeout(_HEEDED_SECONDS):
                while not await self._cri.is_pinned(name):  # noqa: ASYNC110 - CRI has no event for it
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            await self._pins.let_go(name, {self._reason})
            raise StoreUnavailable("this containerd's CRI does not heed the label that pins images") from error

    async def let_go_others(self, wanted: Collection[ImageName]) -> list[str]:
        """Let go of what this list has pinned and does not name any more; the names. Pins of other lists stay."""
        mine = listed(await self._pins.all()).get(self._reason, frozenset())
        return await let_go(self._pins, mine - {str(image.pull_name) for image in wanted}, {self._reason})


async def let_go(pins: PinnedImages, names: Collection[str], reasons: Collection[Reason]) -> list[str]:
    """Take the pins of these lists from the names; those that had one."""
    return [name for name in sorted(names) if await pins.let_go(name, reasons)]


def listed(pinned: Sequence[PinnedImage], named: str | None = None) -> Mapping[Reason, frozenset[str]]:
    """The names that each list has pinned; `named`: of the list of this name only."""
    found: dict[Reason, frozenset[str]] = {}
    for each in pinned:
        for reason, names in each.names.items():
            if reason.is_list and named in {None, reason.list_name}:
                found[reason] = found.get(reason, frozenset()) | names
    return found
