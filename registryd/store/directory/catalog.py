"""The present meanings of a layout's names: index.json, and the changes since it was written.

Another process may change either file at any time (`registryd import`, skopeo). The catalog does not watch the files.
Every question that depends on them looks at their status first, which takes some 4 µs: exact at the moment of the
question, without a task, and without inotify instances, of which a node has 128 and its daemons use many up.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from registryd.content.source import ContentNotFound, NamedContent, StoreUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import INDEX_FILE, IndexEntry, IndexText, entry_text
from registryd.store.directory.journal import Journal
from registryd.store.directory.layout import EMPTY_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName, Repository
    from registryd.store.directory.journal import CatalogChange
    from registryd.store.directory.layout import Layout

    Fingerprint = tuple[int, int, int, int]

# A file system's clock ticks every 4 to 10 ms: a file that was changed more recently than this when it was read may
# change again without its times telling. It is read again at the next question.
_TICK_SECONDS: Final = 0.05

_LOG: Final = logging.getLogger(__name__)


class CatalogEntry(NamedTuple):
    """An entry of index.json, of which only the text is known if it is wrong, and when it came to mean this."""

    target: Descriptor | None
    seen_at: float
    text: bytes


class Catalog:
    """The names of a layout, kept in step with its files. Questions may come from any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.journal = Journal(layout)
        self.problem = ""
        """Why index.json cannot be used; then what was known stays, and nothing may be named."""
        self.wrong: Sequence[ManifestInvalid] = ()
        """What is wrong with entries of index.json, which are ignored."""
        self._index = IndexText(EMPTY_INDEX)
        self._named: dict[FullName, tuple[CatalogEntry, ...]] = {}
        self._called: dict[Digest, frozenset[FullName]] = {}
        self._others: list[CatalogEntry] = []
        self._read: Fingerprint | None = None
        self._unwalked: list[Descriptor] = []
        self._lock = threading.RLock()

    # what is known

    def get(self, name: FullName) -> Sequence[NamedContent]:
        """The meaning of the name at the last `catch_up`."""
        members = self._named.get(name, ())
        return tuple(NamedContent(each.target, each.seen_at) for each in members if each.target)

    def names(self) -> list[FullName]:
        """All names at the last `catch_up`."""
        return list(self._named)

    def of(self, target: Digest) -> frozenset[Repository]:
        """The repositories of the names that meant this at the last `catch_up`."""
        return frozenset(name.repository for name in self._called.get(target, ()))

    def entries(self) -> list[IndexEntry]:
        """All valid entries, with their names if they have one."""
        named = [
            IndexEntry(each.target, name, each.seen_at)
            for name, members in list(self._named.items())
            for each in members
            if each.target
        ]
        return named + [IndexEntry(each.target, None, each.seen_at) for each in list(self._others) if each.target]

    def take_unwalked(self) -> list[Descriptor]:
        """The targets of entries that came since the last call."""
        unwalked, self._unwalked = self._unwalked, []
        return unwalked

    def is_current(self) -> bool:
        """Whether nothing has changed since the last `catch_up`."""
        return self._is_index_current() and self.journal.is_read()

    # keeping in step: these block

    def catch_up(self) -> None:
        """Read what has changed. An index.json that is wrong is logged, and what was known stays."""
        with self._lock:
            while not self.is_current():
                before = self._fingerprint()
                if not self._is_index_current() or self.journal.is_another():
                    self._load(before)
                for change in self.journal.read():
                    self._apply(change)
                # Another process may have taken the one file into the other between the two looks.
                if self._fingerprint() == before:
                    break

    @contextmanager
    def changing(self) -> Iterator[None]:
        """For the length of the block all is as the files say, and the layout's lock is held.

        Raises StoreUnavailable when index.json cannot be used.
        """
        with self._lock:
            self.catch_up()
            if self.problem:
                raise StoreUnavailable(f"nothing can be named in {self._layout.root}: {self.problem}")
            yield

    def apply(self, change: CatalogChange) -> None:
        """A change that the files have by now, or will have in a moment; within `changing`."""
        self._apply(change)

    def render(self) -> bytes:
        """Index.json as it should be; within `changing`."""
        named = (each.text for members in self._named.values() for each in members)
        return self._index.with_entries([*(each.text for each in self._others), *named])

    def was_written(self) -> None:
        """Index.json is what `render` gave; within `changing`."""
        self._read = self._fingerprint()

    def distrust(self) -> None:
        """Note that the knowledge may differ from the files."""
        with self._lock:
            self._read = None
            self.journal.close()

    def close(self) -> None:
        """Let go of the files; idempotent."""
        with self._lock:
            self.journal.close()

    def _load(self, fingerprint: Fingerprint | None) -> None:
        self.journal.close()
        try:
            data, written_at = self._layout.read_index()
            index = IndexText(data)
            entries = list(index.entries())
        except ContentNotFound:
            index, entries, written_at = IndexText(EMPTY_INDEX), [], 0.0
        except (StoreUnavailable, ManifestInvalid) as error:
            _LOG.error("%s is ignored until it changes: %s", self._layout.root / INDEX_FILE, error)
            self.problem, self._read = str(error), fingerprint
            return
        self.problem, self._index = "", index
        self._take(entries, written_at)
        self._read = fingerprint if time.time() - written_at > _TICK_SECONDS else None

    def _take(self, entries: Sequence[tuple[IndexEntry | ManifestInvalid, bytes]], written_at: float) -> None:
        named: dict[FullName, tuple[CatalogEntry, ...]] = {}
        others, wrong, targets = [], [], []
        for entry, text in entries:
            if isinstance(entry, ManifestInvalid):
                wrong.append(entry)
                others.append(CatalogEntry(None, 0.0, text))
                continue
            member = CatalogEntry(entry.target, written_at if entry.seen_at is None else entry.seen_at, text)
            targets.append(entry.target)
            if entry.name is None:
                others.append(member)
            else:
                named[entry.name] = (*named.get(entry.name, ()), member)
        if wrong:
            _LOG.warning("%d entries of index.json are ignored; the first: %s", len(wrong), wrong[0])
        self._named, self._others, self.wrong = named, others, wrong
        called: dict[Digest, set[FullName]] = {}
        for name, members in named.items():
            for each in members:
                if each.target:
                    called.setdefault(each.target.digest, set()).add(name)
        self._called = {digest: frozenset(names) for digest, names in called.items()}
        self._unwalked = targets

    def _apply(self, change: CatalogChange) -> None:
        for name, target in change.named.items():
            for former in self._named.pop(name, ()):
                if former.target:
                    self._called[former.target.digest] = self._called.get(former.target.digest, frozenset()) - {name}
            self._called[target.digest] = self._called.get(target.digest, frozenset()) | {name}
            text = entry_text(IndexEntry(target, name, change.seen_at))
            self._named[name] = (CatalogEntry(target, change.seen_at, text),)
            self._unwalked.append(target)
        if change.gone:
            gone = set(change.gone)
            for digest in gone:
                self._called.pop(digest, None)
            self._others = [each for each in self._others if each.target is None or each.target.digest not in gone]
            for name, members in list(self._named.items()):
                kept = tuple(each for each in members if each.target is None or each.target.digest not in gone)
                if not kept:
                    del self._named[name]
                elif len(kept) < len(members):
                    self._named[name] = kept

    def _is_index_current(self) -> bool:
        return self._read is not None and self._read == self._fingerprint()

    def _fingerprint(self) -> Fingerprint | None:
        try:
            status = (self._layout.root / INDEX_FILE).stat(follow_symlinks=False)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
