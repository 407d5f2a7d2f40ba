"""Whether this node is one that holds up those that get content from it: others say so when they leave it for that.

It tells index nodes with its claims, of any image, so that for a while nobody is sent to it while there are others, and
it does not fetch for others what another can fetch. Nothing that others do depends on it otherwise: a member that makes
it up costs this node its place in the middle of waves, and if all are said to be slow, all are placed as before.
"""

from __future__ import annotations

import logging
from typing import Final

from registryd.aio import clock

# A link that was full with something else has room again; one that is always slow is found out once in this time.
_REMEMBERED_SECONDS: Final = 600.0

_log = logging.getLogger(__name__)


class OwnPace:
    """Remembers for a while that somebody has left this node because it is slow."""

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
