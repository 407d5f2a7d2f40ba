"""How long containerd is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

# containerd has so much of the time of a search, and other nodes have the rest when it does not answer.
_SHARE_OF_SEARCH: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait for what, in seconds."""

    answer: float = 1.0
    """One small question on the way to a first byte. containerd needs half a millisecond."""

    presence: float = 1.0
    """A yes of containerd is believed for so long: enough for the `open` that follows a `find` and for the nodes of a
    rollout that ask together; and content is gone from our answers within a second of being dropped."""

    listing: float = 10.0
    """Everything that containerd has of something, and whatever else is asked in the background: nobody waits for a
    first byte meanwhile, and a machine that is busy is no reason to begin again."""

    change: float = 30.0
    """A change of containerd's database, which is on the disk before it is answered: behind what others write. It takes
    milliseconds; given up, an import fails or a layer is not kept, on a machine that was only busy."""

    chunk: float = 10.0
    """The next message of a body: 1 MiB from a disk that is slow, not dead."""

    commit: float = 120.0
    """The last message of an ingest: containerd flushes all of it to the disk before it answers."""

    subscription: float = 0.1
    """Until a subscription surely counts: containerd does not confirm it, and starts it within microseconds."""

    retry: float = 0.25
    """Between two attempts to follow a containerd that is away."""

    @classmethod
    def within(cls, search_seconds: float) -> Self:
        """For a search of so long (registry.first_byte_timeout): who gives that more time gives containerd more."""
        return cls(answer=search_seconds * _SHARE_OF_SEARCH)
