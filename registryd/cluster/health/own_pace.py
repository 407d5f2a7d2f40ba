"""Whether this node holds up the nodes that get content from it: they say so when they leave it for being slow.

The node tells index nodes so with its claims, of any image. For a while, index nodes name it as a source only when
there is no other, and do not let it fetch content that another node can fetch. Nothing else depends on it. A member
that makes it up costs this node its place in the middle of waves. If all nodes are said to be slow, index nodes place
all of them as before.
"""

from __future__ import annotations

import logging
import math
from typing import Final

from registryd.aio import clock
from registryd.transfer.monitoring.thresholds import STRIPE_REPORT_SECONDS

# A link that was full with something else has room again; one that is always slow is found out once in this time.
_REMEMBERED_SECONDS: Final = 600.0

# So many nodes that get stripes have to leave it, within STRIPE_REPORT_SECONDS.
_LEFT_BY: Final = 3

_log = logging.getLogger(__name__)


class OwnPace:
    """Remembers for a while that another node has left this node because this node is slow."""

    def __init__(self) -> None:
        self._slow_until = -1.0
        self._slow_since = -math.inf
        self._left_by: dict[str, float] = {}
        """When nodes left it that got stripes, by host."""

    @property
    def is_slow(self) -> bool:
        return clock.now() < self._slow_until

    @property
    def slow_since(self) -> float:
        """When this node was first told so, in seconds of the event loop's clock; -inf if it is not slow."""
        return self._slow_since if self.is_slow else -math.inf

    def left_by(self, host: str, *, is_stripe: bool = False) -> None:
        """A node at that host got content from here, and others get much more of it.

        A stripe may come slowly from a good node to one or two others (`registryd.cluster.health.stripe_pace`).
        """
        now = clock.now()
        if is_stripe:
            self._left_by = {of: at for of, at in self._left_by.items() if at > now - STRIPE_REPORT_SECONDS}
            self._left_by[host] = now
            if len(self._left_by) < _LEFT_BY:
                return
        if not self.is_slow:
            _log.info("%s gets content from elsewhere, because this node is much slower than others", host)
            self._slow_since = now
        self._slow_until = now + _REMEMBERED_SECONDS
