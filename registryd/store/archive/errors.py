"""What is wrong with an archive, or with what should become one."""

from __future__ import annotations


class ArchiveInvalid(Exception):
    """Not an OCI archive, or a broken or malicious one. The store is as it was."""


class ArchiveIncomplete(Exception):
    """The store lacks something that the archive should hold; the message names it. The archive is worthless."""
