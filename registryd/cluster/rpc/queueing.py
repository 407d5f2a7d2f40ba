"""What a node that everybody asks at the same moment may take to answer, and whether a silent node is still there.

When a large cluster begins to pull an image, all its nodes ask the same index nodes. One processor of an index node
answers 500 to 1,500 claims a second, handshakes included, so the last node waits for seconds, and the index node is
well. A caller cannot tell that from an agent that hangs; but the kernel of a node that is there accepts connections.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.transfer.http.connection import FAMILY_PAUSE

if TYPE_CHECKING:
    from registryd.notation import Address

# A claim with its handshake was measured at 1.3 to 2.0 ms of one processor (docs/scale.md, "All nodes ask at the same
# moment").
_QUESTION_SECONDS: Final = 0.002
# Less than peers.fetch_wait, and with it less than the 30 s for which containerd 2.3 waits for an answer.
_LONGEST_SECONDS: Final = 8.0
# A SYN that got lost comes again after a second; whoever is not reached by then is asked when it is known to be well.
_CONNECT_SECONDS: Final = 0.5


def queue_seconds(members: int) -> float:
    """How long the last of so many nodes may have to wait for an answer."""
    return min(members * _QUESTION_SECONDS, _LONGEST_SECONDS)


async def accepts_connections(address: Address) -> bool:
    """Whether the node accepts a connection there within half a second. Its agent may be busy, or hang."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, happy_eyeballs_delay=FAMILY_PAUSE)
    except (OSError, UnicodeError):  # a TimeoutError is an OSError, and not every text is the name of a host
        return False
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
    return True
