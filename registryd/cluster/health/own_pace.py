"""Whether this node holds up the nodes that get content from it: they say so when they leave it for being slow.

The node tells index nodes so with its claims, of any image. For a while, index nodes name it as a source only when
there is no other, and do not let it fetch content that another node can fetch. Nothing else depends on it. A member
that makes it up costs this node its place in the middle of waves. If all nodes are said to be slow, index nodes place
all of them as before.
"""

from __future__ import annotations

import logging
from typing import Final

from registryd.aio import clock

# A link that was full with something else has room again; one that is always slow is found out once in this time.
_REMEMBERED_SECONDS: Final = 600.0

_log = logging.getLogger(__name__)


class OwnPace:
    """Remembers for a while that another node has left this node because this node is slow."""

    def __init__(self) -> None:
        self._slow_until = -1.0

    @property
    def is_slow(self) -> bool:
        return clock.now() < self._slow_until

    def left_by(self, host: str) -> None:
        """A node at that host got content from here, and others get much more of it."""
        if not self.is_slow:
            _log.info("%s gets content from elsewhere, because this node is much slower than others", host)
        self._slow_until = clock.now() + _REMEMBERED_SECONDS
