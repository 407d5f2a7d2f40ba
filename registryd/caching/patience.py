"""How long a cache waits for what it could also do without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CachePatience:
    """Seconds. The defaults have their reasons beside them; tests are in more of a hurry."""

    # A range that a download has not reached is waited for, so that the upstream sends every byte once; then it is
    # fetched by itself, because nobody should wait for the first half of a large layer to get the second.
    ranges: float = 3.0
    # How long a download goes on that nobody reads: whoever was cut off asks again within moments, and containerd
    # retries a failed pull at once. What an impatient user gave up is not fetched to its end. What came and could not
    # be stored stays in memory as long, unless that is needed for something else.
    unread: float = 15.0
    # Content that goes past the store is in memory as long as all need it who read it. Whoever makes others wait for
    # half of such a time gets the rest by himself: longer than a busy machine or a lost packet keeps a reader.
    behind: float = 4.0
    # How long an upstream may take to say what a tag means when we know what it meant: a HEAD with a token over new
    # connections to the other side of the world takes 1.5 s.
    tags: float = 3.0
