"""From which repositories content was fetched, and is being fetched: lines in a file of the layout.

`<digest> <registry>/<repository>` is whole content that this repository gave, `~<digest> …` content that began to come
from there. Lines that a killed machine could not write are asked of upstreams again, so no caller waits for the disk.
One process at a time writes to it.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Repository
from registryd.store.directory.durable import replace_file, write_all
from registryd.store.directory.errors import reading, writing
from registryd.store.directory.folders import folder, read_file
from registryd.store.directory.pool import run_writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.store.directory.layout import Layout

_FILE: Final = "sources"
_BEGAN: Final = "~"
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
# Half a million lines: a cache of terabytes. What is larger was not written by us.
_MOST_BYTES: Final = 64 * 1024 * 1024
# Lines after which those of content that has gone are left out: looking for a blob takes microseconds.
_LINES: Final = 20_000

_log = logging.getLogger(__name__)


class Sources:
    """The sources of one layout. A note is known at once, and written a moment later."""

    def __init__(self, layout: Layout, has_some: Callable[[Digest], bool]) -> None:
        """`has_some`: whether some of it has come, and broke off."""
        self._layout = layout
        self._has_some = has_some
        self._of: dict[Digest, frozenset[Repository]] = {}
        self._began: dict[Digest, Repository] = {}
        self._lines = 0
        self._latest: set[Digest] = set()

    def of(self, digest: Digest) -> frozenset[Repository]:
        """The repositories that gave all of it, as far as is known."""
        return self._of.get(digest, frozenset())

    def began(self, digest: Digest) -> frozenset[Repository]:
        """The repository that gave the beginning of incomplete content."""
        began = self._began.get(digest)
        return frozenset() if began is None else frozenset({began})

    async def note(self, digest: Digest, repository: Repository) -> None:
        """This repository gives the content."""
        self._began.pop(digest, None)
        known = self.of(digest)
        if repository not in known:
            self._of[digest] = known | {repository}
            await self._write(digest, f"{digest} {repository}\n")

    async def note_began(self, digest: Digest, repository: Repository) -> None:
        """Note that content begins to come from this repository, or goes on."""
        if self._began.get(digest) != repository:
            self._began[digest] = repository
            await self._write(digest, f"{_BEGAN}{digest} {repository}\n")

    async def _write(self, digest: Digest, line: str) -> None:
        self._latest.add(digest)
        self._lines += 1
        if self._lines < _LINES:
            write = partial(self._append, line.encode())
        else:
            latest, self._latest, self._lines = frozenset(self._latest), set(), 0
            write = partial(self._tidy, latest)
        try:
            await run_writing(write)
        except StoreUnavailable as error:
            _log.warning("the sources of stored content cannot be saved for the next start: %s", error)

    # Everything below blocks.

    def load(self) -> None:
        """Load the written lines. Nonsense is passed over."""
        try:
            with reading(_FILE), folder(self._layout.root) as parent:
                text = read_file(parent, _FILE, limit=_MOST_BYTES).decode(errors="replace")
        except ContentNotFound:
            return
        except StoreUnavailable as error:
            _log.warning("the sources of stored content cannot be loaded, so the upstreams are asked again: %s", error)
            return
        for has_begun, digest, repository in _parsed(text):
            if has_begun:
                self._began[digest] = repository
            else:
                self._of[digest] = self.of(digest) | {repository}
        self._drop_gone(frozenset())

    def _append(self, line: bytes) -> None:
        with writing(_FILE), folder(self._layout.root) as parent:
            fd = os.open(_FILE, _APPEND, 0o644, dir_fd=parent)
            try:
                write_all(fd, line)
            finally:
                os.close(fd)

    def _tidy(self, latest: frozenset[Digest]) -> None:
        """Forget content that has gone. The `latest` may still be on its way."""
        self._drop_gone(latest)
        began = [f"{_BEGAN}{digest} {repository}\n" for digest, repository in list(self._began.items())]
        known = [f"{digest} {each}\n" for digest, all_of_it in list(self._of.items()) for each in all_of_it]
        with writing(_FILE), folder(self._layout.root) as parent:
            replace_file(parent, _FILE, "".join([*began, *known]).encode())

    def _drop_gone(self, latest: frozenset[Digest]) -> None:
        for digest in [digest for digest in list(self._of) if digest not in latest and not self._is_here(digest)]:
            self._of.pop(digest, None)
        for digest in [digest for digest in list(self._began) if digest not in latest and not self._has_some(digest)]:
            self._began.pop(digest, None)

    def _is_here(self, digest: Digest) -> bool:
        try:
            return self._layout.has_blob(digest)
        except StoreUnavailable:
            return True


def _parsed(text: str) -> Iterator[tuple[bool, Digest, Repository]]:
    for line in text.splitlines():
        digest, _, name = line.partition(" ")
        try:
            yield digest.startswith(_BEGAN), Digest.parse(digest.removeprefix(_BEGAN)), Repository.parse(name)
        except OciError:
            continue
