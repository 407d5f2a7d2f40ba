"""How quickly a node gives a little of what it has anyway: what room there is on its link."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.expiring import ExpiringSet
from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.monitoring.thresholds import (
    KNOWN_SLOW_SECONDS,
    PART_BYTES,
    SAMPLE_BYTES,
    SAMPLE_SECONDS,
    SHORTEST_SAMPLE_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.notation import Address

    SlowLinks = ExpiringSet[Address]

# A node has a few sources at a time.
_REMEMBERED: Final = 100


def slow_links() -> SlowLinks:
    """Nodes whose links were found to be slow, by this node and lately."""
    return ExpiringSet(lifetime=KNOWN_SLOW_SECONDS, capacity=_REMEMBERED)


async def sample(
    member: Member,
    sought: Sought,
    *,
    enough: float,
    count: Callable[[int], None] = lambda _: None,
    has_answered: bool = False,
) -> float:
    """Bytes a second at which it gives the beginning of the content, beside all its other work; 0: none.

    If the rate does not come to `enough`, the sample reads no more than it takes to know that. `count` is told of all
    bytes as they come. Of a node that `has_answered` just now that it has these bytes, the sample need not come to an
    end: what has not come by the time at which it would have been enough comes slowly.
    """
    begun, seconds, read = clock.now(), 0.0, 0
    longest = min(SAMPLE_SECONDS, max(SAMPLE_BYTES / enough, SHORTEST_SAMPLE_SECONDS)) if enough else SAMPLE_SECONDS
    try:
        async with asyncio.timeout(longest if has_answered else SAMPLE_SECONDS):
            while read < SAMPLE_BYTES and seconds <= longest:
                await _read(member, sought, Span(read, read + PART_BYTES))
                count(PART_BYTES)
                read += PART_BYTES
                seconds = clock.now() - begun
    except ContentUnavailable:
        return 0.0
    except TimeoutError:
        return max(read, 1) / longest if has_answered else 0.0
    return read / seconds


async def _read(member: Member, sought: Sought, span: Span) -> None:
    async with aclosing(member.read(sought, span)) as chunks:
        async for _ in chunks:
            pass
