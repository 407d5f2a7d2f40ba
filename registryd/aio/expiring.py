"""A short memory: what was put in is there for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from registryd.aio import clock

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

K = TypeVar("K", bound="Hashable")


class ExpiringSet(Generic[K]):
    """Keeps each item for `lifetime` seconds of the event loop's clock, and at most `capacity` of them: the latest."""

    def __init__(self, *, lifetime: float, capacity: int) -> None:
        self._lifetime = lifetime
        self._capacity = capacity
        # In the order in which they expire, because all live equally long.
        self._expiries: dict[K, float] = {}

    def add(self, item: K) -> None:
        """Put it in, or let it live anew."""
        self._drop_expired()
        self._expiries.pop(item, None)
        if len(self._expiries) >= self._capacity:
            del self._expiries[next(iter(self._expiries))]
        self._expiries[item] = clock.now() + self._lifetime

    def discard(self, item: K) -> None:
        """Forget it, if it is there."""
        self._expiries.pop(item, None)

    def __contains__(self, item: K) -> bool:
        expiry = self._expiries.get(item)
        return expiry is not None and expiry > clock.now()

    def __iter__(self) -> Iterator[K]:
        """What is there now, the oldest first; it may change meanwhile."""
        self._drop_expired()
        return iter(tuple(self._expiries))

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._expiries)

    def _drop_expired(self) -> None:
        now = clock.now()
        while self._expiries:
            oldest = next(iter(self._expiries))
            if self._expiries[oldest] > now:
                return
            del self._expiries[oldest]
