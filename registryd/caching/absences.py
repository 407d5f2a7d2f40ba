"""That an image has no signature: what upstreams said of the tags of signatures, for the time when they say nothing.

Cosign and policy controllers ask for such tags of every image, and take "not now" for an error.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import OciError
from registryd.oci.reference import Repository, Tag, TaggedName
from registryd.oci.referrers import is_attached_tag, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.caching.keeping import CacheStore
    from registryd.caching.recollection import Recollection

_log = logging.getLogger(__name__)

# Three for each image, of some 300 bytes.
_MOST: Final = 8192
NOTE_BYTES: Final = 4 * 1024 * 1024
"""As many names, all of them the longest."""
# As long as it is believed in an outage that a repository is public.
_HOLDS_SECONDS: Final = 7 * 24 * 3600.0
# Filling a cache is told of some hundred a second.
_WRITES_APART_SECONDS: Final = 10.0


class AbsentLately(ContentNotFound):
    """The upstream cannot be asked (`failure`); when it was asked last, it did not have it."""

    def __init__(self, name: TaggedName, age: float, why: str, failure: BaseException | None) -> None:
        super().__init__(f"{name.tag} was not there {_ago(age)}; now: {why}")
        self.why = why
        self.failure = failure


class Absences:
    """Tags of what is attached that upstreams said they do not have."""

    def __init__(self, store: CacheStore, kept: Recollection, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._kept = kept
        self._now = now
        self._said: Recent[TaggedName, float] = Recent(_MOST)
        self._changed = asyncio.Event()

    def age(self, name: TaggedName) -> float | None:
        """How many seconds ago it was said, if that is recent enough to be believed."""
        said_at = self._said.get(name)
        age = None if said_at is None else max(0.0, self._now() - said_at)
        return age if age is not None and age <= _HOLDS_SECONDS else None

    async def said(self, name: TaggedName) -> None:
        """The upstream says that it has no such tag; remembered if it is of an image that is here and the repository's.

        Anybody may ask for anything, under any name.
        """
        subject = subject_of(name.tag) if is_attached_tag(name.tag) else None
        if subject is None or name.repository not in self._store.namers(subject):
            return
        try:
            await self._store.find(subject)
        except ContentUnavailable:
            return
        self._said.put(name, self._now())
        self._changed.set()

    def forget(self, name: TaggedName) -> None:
        """There is one."""
        if self._said.get(name) is not None:
            self._said.drop(name)
            self._changed.set()

    async def recall(self) -> None:
        """Know again what was known."""
        now = self._now()
        for registry, text, age in await self._kept.read():
            path, _, tag = text.rpartition(":")
            try:
                self._said.put(TaggedName(Repository(registry, path), Tag(tag)), now - age)
            except OciError as error:
                _log.warning("a saved absent tag cannot be used: %s", error)

    async def keep(self) -> None:
        """Write it down when it has changed, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            now = self._now()
            said = [
                (name.repository.registry, f"{name.repository.path}:{name.tag}", now - at)
                for name, at in self._said.items()
            ]
            await self._kept.write(said)
            await asyncio.sleep(_WRITES_APART_SECONDS)


def _ago(seconds: float) -> str:
    minutes = int(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min ago" if minutes else "a moment ago"
