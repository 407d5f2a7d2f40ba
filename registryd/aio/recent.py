"""A bounded memory: what was used least recently is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping of at most `most` entries. Keys come from requests, so no client can make the agent remember more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, the least recently used first; not to be changed meanwhile."""
        return iter(self._entries.items())

    def get(self, key: K) -> V | None:
        """The value, which counts as used."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep the value."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget the key; it need not be known."""
        self._entries.pop(key, None)

    def get_or_put(self, key: K, make: Callable[[], V]) -> V:
        """The value, made first if there is none."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value
