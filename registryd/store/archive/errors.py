"""Errors of archives, and of images that should become an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.oci.digest import Digest


class ArchiveInvalid(Exception):
    """Not an OCI archive, or a broken or malicious one. The store is as it was."""


class ArchiveIncomplete(Exception):
    """The store lacks content that the archive should hold, and `why`. The written part of the archive is worthless."""

    def __init__(self, digest: Digest, why: str) -> None:
        super().__init__(f"{digest} {why}")
        self.digest = digest
        self.why = why
