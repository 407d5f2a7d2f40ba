"""Which layers are kept within the limits: what was used least recently goes first. Pure bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in a namespace. A layer of two namespaces is counted twice, which errs on the safe side."""

    namespace: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class KeptLayersLimits:
    """How much may be kept, in bytes, and for how long after its last use, in seconds."""

    most_bytes: int
    longest: float

    @property
    def keeps_nothing(self) -> bool:
        return not (self.most_bytes and self.longest)


class Shelf:
    """The layers that are kept, in the order of their last use. Times are seconds of any steady clock."""

    def __init__(self, limits: KeptLayersLimits) -> None:
        self._limits = limits
        self._used: dict[Layer, float] = {}
        self._bytes = 0

    def __contains__(self, layer: Layer) -> bool:
        return layer in self._used

    def __iter__(self) -> Iterator[Layer]:
        return iter(tuple(self._used))

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._used)

    def touch(self, digests: Collection[Digest], now: float) -> None:
        """These were used."""
        for layer in [layer for layer in self._used if layer.digest in digests]:
            del self._used[layer]
            self._used[layer] = now

    def room_for(self, layers: Iterable[Layer], now: float) -> tuple[list[Layer], list[Layer]]:
        """Room for new layers: the layers that have to leave, and the new layers for which there is room then.

        They never push each other out, so of an image that is larger than the limit a part is kept.
        """
        leaving: list[Layer] = []
        fitting: list[Layer] = []
        candidates = [layer for layer, used in self._used.items() if used < now]
        free = self._limits.most_bytes - self._bytes
        for layer in layers:
            while layer.size > free and candidates and layer.size <= self._limits.most_bytes:
                leaving.append(candidates.pop(0))
                free += leaving[-1].size
            if layer.size <= free:
                fitting.append(layer)
                free -= layer.size
        return leaving, fitting

    def overdue(self, now: float) -> list[Layer]:
        """The layers that were not used for too long, or are too many: the limits may have changed."""
        excess = self._bytes - self._limits.most_bytes
        found = []
        for layer, used in self._used.items():
            if excess > 0 or now - used > self._limits.longest:
                found.append(layer)
                excess -= layer.size
        return found

    def put(self, layer: Layer, now: float) -> None:
        self._used[layer] = now
        self._bytes += layer.size

    def drop(self, layer: Layer) -> None:
        del self._used[layer]
        self._bytes -= layer.size
