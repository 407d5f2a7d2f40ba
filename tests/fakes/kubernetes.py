"""A Kubernetes API server's storage: objects with versions, lists that can be paged, watches that can be resumed.

As the real one does it, as far as a client can see: one counter for all versions, a history that can be compacted
(410 Gone, as an ERROR event), selectors of labels, bookmarks. `tests/fakes/endpoint_slices.py` gives it a face for
tests in virtual time, `tests/fakes/kubernetes_server.py` one over HTTPS.
"""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

Object = dict[str, Any]


class Key(NamedTuple):
    """Where an object is kept; `resource` is the plural with its group: endpointslices.discovery.k8s.io."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Selection:
    """What a list or watch is about: one resource, in one namespace or (empty) in all, with these labels."""

    resource: str
    namespace: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    name: str = ""

    def has(self, key: Key, entry: Object | None) -> bool:
        if entry is None or key.resource != self.resource:
            return False
        labels = entry["metadata"].get("labels") or {}
        return (
            self.namespace in {"", key.namespace}
            and self.name in {"", key.name}
            and all(labels.get(name) == value for name, value in self.labels)
        )


@dataclass(frozen=True)
class Change:
    version: int
    key: Key
    before: Object | None
    after: Object | None


class Gone(Exception):
    """The version asked for has been compacted."""

    status: ClassVar[Object] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "too old resource version",
        "reason": "Expired",
        "code": 410,
    }


class FakeCluster:
    """The objects, and everything that ever happened to them since the last compaction."""

    def __init__(self) -> None:
        self.version = 100
        self.compacted = 0
        self._objects: dict[Key, Object] = {}
        self._history: list[Change] = []
        self._bookmarks = 0
        self._watch_generation = 0
        self._news = asyncio.Event()

    # Objects

    def get(self, key: Key) -> Object | None:
        return deepcopy(self._objects.get(key))

    def all_keys(self) -> list[Key]:
        return sorted(self._objects)

    def put(self, key: Key, content: Object) -> Object:
        """Create or replace it."""
        entry = deepcopy(content)
        metadata = entry.setdefault("metadata", {})
        metadata.update(name=key.name, uid=f"uid-{key.name}", resourceVersion=str(self.version + 1))
        if key.namespace:
            metadata["namespace"] = key.namespace
        self._record(key, entry)
        return deepcopy(entry)

    def delete(self, key: Key) -> Object | None:
        before = self.get(key)
        if before is not None:
            self._record(key, None)
        return before

    def _record(self, key: Key, after: Object | None) -> None:
        self.version += 1
        self._history.append(Change(self.version, key, self._objects.get(key), after))
        if after is None:
            del self._objects[key]
        else:
            self._objects[key] = after
        self._tell()

    # What an API server does by itself

    def compact(self) -> None:
        """Forget all that was before now."""
        self.compacted = self.version
        self._history.clear()

    def bookmark(self) -> None:
        """Tell every watch that wants it how far it has come."""
        self._bookmarks += 1
        self._tell()

    def end_watches(self) -> None:
        """End them all, as a server does after timeoutSeconds, or when it stops in order."""
        self._watch_generation += 1
        self._tell()

    # Lists and watches

    def select(self, selection: Selection) -> list[Object]:
        found = sorted(key for key, entry in self._objects.items() if selection.has(key, entry))
        return [deepcopy(self._objects[key]) for key in found]

    def list_part(self, selection: Selection, *, limit: int = 0, token: str = "") -> Object:
        """An object of kind List; raises Gone for the token of a list that has been compacted since."""
        start, version = json.loads(token) if token else (0, self.version)
        if token and version < self.compacted:
            raise Gone
        items = self.select(selection)
        end = start + limit if limit else len(items)
        metadata: Object = {"resourceVersion": str(version)}
        if end < len(items):
            metadata |= {"continue": json.dumps([end, version]), "remainingItemCount": len(items) - end}
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items[start:end]}

    async def watch(self, selection: Selection, *, since: int, bookmarks: bool = False) -> AsyncGenerator[Object, None]:
        """The events after a version: first those of the past."""
        if since < self.compacted:
            yield {"type": "ERROR", "object": Gone.status}
            return
        generation, told, marks = self._watch_generation, since, self._bookmarks
        while generation == self._watch_generation:
            news = self._news
            for change in [change for change in self._history if change.version > told]:
                told = change.version
                for event in _events(change, selection):
                    yield event
            if bookmarks and marks != self._bookmarks:
                marks = self._bookmarks
                yield _bookmark(self.version)
            await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _events(change: Change, selection: Selection) -> Iterable[Object]:
    """What a change is to someone who sees only the selection: an object that leaves it is deleted for him."""
    was, now = selection.has(change.key, change.before), selection.has(change.key, change.after)
    if now:
        yield {"type": "MODIFIED" if was else "ADDED", "object": deepcopy(change.after)}
    elif was:
        assert change.before
        gone = deepcopy(change.before)
        gone["metadata"]["resourceVersion"] = str(change.version)
        yield {"type": "DELETED", "object": gone}


def _bookmark(version: int) -> Object:
    metadata = {"resourceVersion": str(version)}
    return {"type": "BOOKMARK", "object": {"kind": "EndpointSlice", "metadata": metadata}}
