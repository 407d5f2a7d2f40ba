"""Keeping the blocklist: the settings, the file that is watched, and what blocked images consist of here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NoReturn

from registryd.agent.lines_file import LinesFile
from registryd.config.agent import SettingsError
from registryd.content.blocked import Blocklist, BlockRules
from registryd.content.reading import read_content
from registryd.content.source import ContentUnavailable
from registryd.identity.watch import looks_at
from registryd.notation import counted
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest

if TYPE_CHECKING:
    from registryd.config.agent import ImagesSettings
    from registryd.oci.digest import Digest
    from registryd.store.choice import NodeStore

_log = logging.getLogger(__name__)

# Seconds, for file systems that tell nothing of changes, and for images that come under a blocked name: another agent
# may not ask for them before that.
_LOOK_SECONDS: Final = 3.0
# Of the file. A rule has some hundred bytes.
_MAX_BYTES: Final = 1 << 20
# An index leads to manifests, and they to blobs.
_DEPTH: Final = 3


class BlocklistKeeper:
    """Holds a blocklist up to date; it stands from the beginning. Raises SettingsError for rules that are none."""

    def __init__(self, settings: ImagesSettings, store: NodeStore) -> None:
        self._store = store
        self._seen: dict[Digest, frozenset[Digest]] = {}
        self._listed = BlockRules()
        try:
            self._fixed = BlockRules.parse(settings.block)
        except ValueError as error:
            raise SettingsError("images.block", str(error)) from error
        self._file = LinesFile(
            settings.block_file,
            BlockRules.parse,
            most_bytes=_MAX_BYTES,
            unreadable="images.block_file cannot be read, and its earlier entries stay blocked",
        )
        self.blocklist = Blocklist()
        self._read()

    @property
    def is_needed(self) -> bool:
        """Whether anything is or may come to be blocked."""
        return bool(self._file.paths or self._fixed.patterns)

    async def run(self) -> NoReturn:
        """Follow the file and the images until cancelled."""
        async with aclosing(looks_at(self._file.paths, every=_LOOK_SECONDS)) as looks:
            async for _ in looks:
                await asyncio.to_thread(self._read)
                self._cut()  # before images are looked at, which may take a while
                await self._find_images()
                self._cut()
        raise AssertionError("it looks until it is cancelled")

    def _cut(self) -> None:
        if count := self.blocklist.cut():
            ended = counted(count, "running transfer was", "running transfers were")
            _log.info("%s ended: the content is blocked now", ended)

    def _read(self) -> None:
        listed = self._file.read()
        if listed is not None:
            self._listed = listed
        rules = self._fixed | self._listed
        if rules != self.blocklist.rules:
            self.blocklist.rules = rules
            _log.info("blocked", extra={"digests": len(rules.digests), "patterns": len(rules.patterns)})
            for rule in rules.useless:
                _log.warning("%.80r blocks nothing: expected registry/repository:tag, docker.io/library/nginx:1", rule)

    async def _find_images(self) -> None:
        rules = self.blocklist.rules
        try:
            namings = await self._store.namings() if rules.patterns else ()
        except ContentUnavailable:
            return  # and what was found before stays blocked
        roots = {
            naming.meaning.target.digest
            for naming in namings
            if rules.matches(str(naming.name), str(naming.name.repository))
        }
        seen = {root: self._seen.get(root) or await self._content_of(root) for root in roots}
        self._seen = seen
        self.blocklist.of_images = frozenset().union(*seen.values())

    async def _content_of(self, root: Digest) -> frozenset[Digest]:
        """All content of an image, as far as its manifests are here."""
        found, level = {root}, {root}
        for _ in range(_DEPTH):
            children = [child for digest in level for child in await self._children_of(digest)]
            level = {child for child, is_document in children if is_document} - found
            found |= {child for child, _ in children}
        return frozenset(found)

    async def _children_of(self, digest: Digest) -> list[tuple[Digest, bool]]:
        try:
            manifest = parse_manifest(await read_content(self._store, digest, limit=MAX_MANIFEST_SIZE))
        except (ContentUnavailable, ManifestInvalid):
            return []  # a platform that was not pulled
        return [(child.digest, is_manifest_type(child.media_type)) for child in manifest.children]
