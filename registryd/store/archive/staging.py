"""The files of an archive as they stream by: every blob hashed into an ingest of the store, not committed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid, ManifestInvalid
from registryd.oci.image_layout import (
    ATTACHED_FILE,
    BLOBS_FOLDER,
    INDEX_FILE,
    LAYOUT_FILE,
    is_layout_file,
    parse_index,
)
from registryd.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registryd.store.archive.errors import ArchiveInvalid
from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits, Quota
from registryd.store.archive.tar import NotRegular

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from registryd.content.writer import ContentWriter, Ingest
    from registryd.oci.image_layout import IndexEntry
    from registryd.oci.manifest import Manifest
    from registryd.store.archive.tar import ArchiveFile, TarReader

# Some 20,000 images; an index.json is kept in memory.
_MAX_INDEX_BYTES: Final = 8 * 1024 * 1024
_MAX_LAYOUT_BYTES: Final = 4096
# Files of docker-archives, and files that docker save still writes besides.
_DOCKER_FILE: Final = "manifest.json"
# In a docker-archive, the layer of one image, which may be a link to that of another.
_DOCKER_LAYER: Final = "/layer.tar"
_CONVERT: Final = (
    "docker-archives (of skopeo, podman, crane, and of docker before 25) become OCI archives by "
    "`skopeo copy docker-archive:FILE oci-archive:NEW.tar:TAG`"
)
_NO_CONTENT: Final = f"bytes that are no part of an OCI image; {_CONVERT}"
# White space that a manifest may begin with.
_PEEK_BYTES: Final = 64


class Staging:
    """A context: what was not committed when it ends is aborted."""

    def __init__(self, writer: ContentWriter, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
        self._writer = writer
        self._has_layout = self._has_docker = False
        self._index: tuple[IndexEntry, ...] | None = None
        self._attached: tuple[IndexEntry, ...] | None = None
        self._blobs = Quota(limits.blobs, "blobs")
        self._references = Quota(limits.references, "references to content")
        self._others = Quota(limits.other_bytes, _NO_CONTENT)
        self.ingests: dict[Digest, Ingest] = {}
        self.sizes: dict[Digest, int] = {}
        self.manifests: dict[Digest, Manifest] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ingest in self.ingests.values():
            await ingest.aclose()

    async def take_all(self, tar: TarReader) -> tuple[IndexEntry, ...]:
        """Take every file of the archive; what its index.json says. Raises ArchiveInvalid and whatever ingests do."""
        try:
            async for member in tar.members():
                await self._take(member, tar)
        except NotRegular as error:
            if self._has_docker or error.path.endswith(_DOCKER_LAYER):
                raise ArchiveInvalid(f"not an OCI archive; {_CONVERT}") from error
            raise
        if self._index is None or not self._has_layout:
            hint = f"; {_CONVERT}" if self._has_docker else ""
            raise ArchiveInvalid(f"not an OCI archive: it lacks {INDEX_FILE} or {LAYOUT_FILE}{hint}")
        return self._index

    @property
    def attached(self) -> tuple[IndexEntry, ...]:
        """The referrers that the archive lists for its images, all with a name."""
        return self._attached or ()

    async def _take(self, member: ArchiveFile, tar: TarReader) -> None:
        if member.path == INDEX_FILE:
            self._index = _index_of(member, await tar.contents(limit=_MAX_INDEX_BYTES), before=self._index)
        elif member.path == ATTACHED_FILE:
            entries = _index_of(member, await tar.contents(limit=_MAX_INDEX_BYTES), before=self._attached)
            self._attached = tuple(entry for entry in entries if entry.name)
        elif member.path == LAYOUT_FILE:
            self._has_layout = is_layout_file(await tar.contents(limit=_MAX_LAYOUT_BYTES))
        elif member.path.startswith(f"{BLOBS_FOLDER}/"):
            await self._take_blob(_digest_of(member), member.size, tar)
        else:
            self._has_docker |= member.path == _DOCKER_FILE
            self._others.spend(member.size)

    async def _take_blob(self, digest: Digest, size: int, tar: TarReader) -> None:
        if digest in self.sizes:
            raise ArchiveInvalid(f"the archive has {digest} twice")
        self._blobs.spend(1)
        self.sizes[digest] = size
        ingest = self.ingests[digest] = await self._writer.begin(digest, size=size)
        candidate = _Candidate(size)
        async for chunk in tar.chunks():
            candidate.add(chunk)
            await ingest.write(chunk)
        await ingest.seal()
        if manifest := candidate.manifest():
            self._references.spend(len(manifest.children))
            self.manifests[digest] = manifest


def _index_of(member: ArchiveFile, data: bytes, *, before: tuple[IndexEntry, ...] | None) -> tuple[IndexEntry, ...]:
    """The entries of a file of that form. `before` has the entries that the file had when it came before."""
    if before is not None:
        raise ArchiveInvalid(f"the archive has {member.path} twice")
    try:
        return parse_index(data)
    except ManifestInvalid as error:
        raise ArchiveInvalid(f"{member.path} of the archive is wrong: {error}") from error


class _Candidate:
    """Bytes that may be a manifest. The bytes are kept as long as that is possible."""

    def __init__(self, size: int) -> None:
        self._data: bytearray | None = bytearray() if size <= MAX_MANIFEST_SIZE else None

    def add(self, chunk: bytes) -> None:
        if self._data is not None:
            self._data += chunk
            if bytes(self._data[:_PEEK_BYTES]).lstrip()[:1] not in {b"{", b""}:
                self._data = None

    def manifest(self) -> Manifest | None:
        try:
            return None if self._data is None else parse_manifest(bytes(self._data))
        except ManifestInvalid:
            return None


def _digest_of(member: ArchiveFile) -> Digest:
    _, _, name = member.path.partition("/")
    try:
        return Digest.parse(name.replace("/", ":", 1))
    except DigestInvalid as error:
        raise ArchiveInvalid(f"the archive has a blob with a wrong name: {error}") from error
