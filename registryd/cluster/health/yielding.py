"""Making room for others while a body comes: a node that turns out to be slow gets its content where nobody else does.

A slow node takes a share of its source's link, small as it is. The node below it that has left it follows the same
source now, and gets only the rest, and so do all nodes further down. The last nodes of a tree give to nobody: there the
slow node costs nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from registryd.transfer.monitoring.body import Check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.notation import Address
    from registryd.transfer.monitoring.meter import Reading

_log = logging.getLogger(__name__)

# The node that has left this one claims another place meanwhile; other nodes below this one find out within seconds.
_TRIES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
# Between looks, while nobody has said that this node is slow.
_LOOK_SECONDS: Final = 0.25


class YieldCheck(Check):
    """A Check: since the body began, this node was told that it is slow, and index nodes name another source to it."""

    def __init__(
        self,
        source: Address,
        slow_since: Callable[[], float],
        claim: Callable[[], Awaitable[Address | None]],
        give_way: Callable[[], None],
    ) -> None:
        """`slow_since`: when it was told, -inf if it was not; `claim` returns the source that index nodes name now.

        `give_way` is told that the source is left for that.
        """
        self._source = source
        self._slow_since = slow_since
        self._claim = claim
        self._give_way = give_way
        self._tries = list(_TRIES)

    def begin(self, begun: Reading) -> None:
        self._begun_at = begun.at

    def pause(self) -> float:
        return _LOOK_SECONDS

    async def look(self, now: Reading) -> str | None:
        since = self._slow_since()
        if since <= self._begun_at or not self._tries or now.at < since + self._tries[0]:
            return None
        del self._tries[0]
        place = await self._claim()
        if place is None or place == self._source:
            return None
        _log.info("this node is slow: it gets content from %s now, where no other node needs the link", place)
        self._give_way()
        return "this node is slow, and gets it where it is in nobody's way"
