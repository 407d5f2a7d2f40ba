"""Is everything in a layout what its name says? Asked by an operator, of a store that may be in service meanwhile."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.image_layout import BLOBS_FOLDER, INDEX_FILE
from registryd.store.directory.catalog import Catalog
from registryd.store.directory.errors import writing
from registryd.store.directory.folders import folder
from registryd.store.directory.name_writer import NameWriter
from registryd.store.directory.partials import partial_blobs
from registryd.store.directory.session import abandoned_bytes
from registryd.store.directory.usage import stored_blobs

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Iterator

    from registryd.oci.digest import Digest
    from registryd.store.directory.layout import Layout

_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoreFault:
    """Something that is not as it should be, and the content to remove to put it right."""

    problem: str
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The checked content, and the findings. `partial`: bytes of unfinished downloads, which are no fault."""

    blobs: int
    size: int
    names: int
    partial: int
    findings: tuple[StoreFault, ...]


def check_layout(layout: Layout) -> StoreReport:
    """Read and hash every blob; blocks for as long as the disk takes. Raises StoreUnavailable."""
    layout.require()
    count = size = 0
    findings = []
    for blob in list(stored_blobs(layout)):
        count, size = count + 1, size + blob.size
        if problem := _problem_of(layout, blob.digest):
            findings.append(StoreFault(problem, blob.digest))
    names, wrong = _check_index(layout)
    return StoreReport(count, size, names, _partial_bytes(layout), (*findings, *wrong))


def repair_layout(layout: Layout, report: StoreReport) -> None:
    """Remove damaged blobs, which a cache then fetches again, and names that mean nothing. Raises StoreUnavailable."""
    gone = {finding.digest for finding in report.findings if finding.digest}
    with closing(Catalog(layout)) as catalog:
        writer = NameWriter(layout, catalog)
        with writing(layout.root), layout.locked():
            writer.forget(gone)
            for digest in gone:
                with folder(layout.root, BLOBS_FOLDER, digest.algorithm) as parent, suppress(FileNotFoundError):
                    os.unlink(digest.encoded, dir_fd=parent)
        if not catalog.problem:
            writer.checkpoint()


def _partial_bytes(layout: Layout) -> int:
    """The bytes of partial content that the layout keeps, and that its next owner will keep."""
    total = 0
    with suppress(FileNotFoundError):
        total += sum(blob.size for blob in partial_blobs(layout))
    with suppress(FileNotFoundError):
        total += abandoned_bytes(layout)
    return total


def _problem_of(layout: Layout, digest: Digest) -> str | None:
    try:
        fd, _ = layout.open_blob(digest)
    except ContentNotFound:
        return None  # evicted meanwhile
    except ContentUnavailable as error:
        return f"{digest} cannot be read: {error}"
    with os.fdopen(fd, "rb", buffering=0) as file:
        hasher: HASH = digest.hasher()
        try:
            while data := file.read(_READ_BYTES):
                hasher.update(data)
        except OSError as error:
            return f"{digest} cannot be read: {error.strerror}"
    return None if digest.matches(hasher) else f"{digest} is damaged"


def _check_index(layout: Layout) -> tuple[int, list[StoreFault]]:
    with closing(Catalog(layout)) as catalog:
        catalog.catch_up()
        if catalog.problem:
            return 0, [StoreFault(f"{INDEX_FILE}: {catalog.problem}")]
        entries = catalog.entries()
        findings = [StoreFault(f"{INDEX_FILE}: {problem}") for problem in catalog.wrong]
    return len(entries), findings + list(_dangling(layout, {e.target.digest: str(e.name) for e in entries}))


def _dangling(layout: Layout, names: dict[Digest, str]) -> Iterator[StoreFault]:
    for digest, name in names.items():
        if not layout.has_blob(digest):
            yield StoreFault(f"{INDEX_FILE}: {name} means {digest}, which is not there", digest)
