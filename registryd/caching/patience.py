"""How long a cache waits for what it could also do without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CachePatience:
    """Seconds. The defaults have their reasons beside them; tests are in more of a hurry."""

    # A range that a download has not reached is waited for, so that the upstream sends every byte once; then it is
    # fetched by itself, because no client should wait for the first half of a large layer to get the second.
    ranges: float = 3.0
    # How long a download goes on without a reader: a client that was cut off asks again within moments, and containerd
    # retries a failed pull at once. A pull that an impatient user gave up is not fetched to its end. Bytes that came
    # and could not be stored stay in memory as long, unless that memory is needed.
    unread: float = 15.0
    # Content that goes past the store is in memory as long as all its readers need it. A reader that makes others wait
    # for half of such a time gets the rest by itself: this is longer than a busy machine or a lost packet keeps a
    # reader.
    behind: float = 4.0
    # How long an upstream may take to say what a tag means when we know what it meant: a HEAD with a token over new
    # connections to the other side of the world takes 1.5 s.
    tags: float = 3.0
    # How long a question waits for an upstream that has had enough (429). containerd asks such a registry five or six
    # times at once, whatever it says of when to come again, so by itself it would have failed; it waits 30 s for a head
    # (2.4; 1.6 without a bound), and cache.first_byte_timeout is 20 s.
    limited: float = 10.0
