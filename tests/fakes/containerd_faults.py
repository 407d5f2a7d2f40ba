"""What may be wrong with a containerd."""

from __future__ import annotations

from enum import Enum, auto

LATE_SECONDS = 0.2


class Fault(Enum):
    """What is wrong with this containerd."""

    NONE = auto()
    LATE = auto()  # answers everything after LATE_SECONDS
    SILENT = auto()  # takes every call and answers none
    REFUSING = auto()  # every call fails
    GARBAGE = auto()  # answers with bytes that are no message
    OTHER_DIGEST = auto()  # Info is about something else
    NEGATIVE_SIZE = auto()
    WRONG_SIZE = auto()  # Info's size is not the file's
    EMPTY_READ = auto()  # Read ends properly without a message
    SHORT_READ = auto()  # Read ends properly after its first message
    BROKEN_READ = auto()  # Read fails after its first message
    STALLED_READ = auto()  # Read says nothing after its first message
    DISK_FULL = auto()  # takes no bytes in
    STALLED_WRITE = auto()  # does not say that it took them
