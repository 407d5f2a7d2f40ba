"""Each pull as an event on the agent's pod, if that is wanted: so many of them, and no more."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from registryd.cluster.kubernetes import ApiFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.content.pull_log import LoggedPull

_log = logging.getLogger(__name__)

REASON: Final = "ImagePulled"
# An API server keeps events for an hour: at most 140 of an agent. A node pulls some dozens of images when it is new,
# and a few a day. client-go allows 25 of one object at once, and one in five minutes after that.
_AT_ONCE: Final = 20
_SECONDS_FOR_ONE: Final = 30.0


class Events(Protocol):
    """The place where events are written. Raises ApiFailed."""

    async def write(self, reason: str, message: str) -> None: ...


class PullEvents:
    """Events of pulls. Events beyond the limit are counted, and told with the next event; a refused event is lost."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._waiting: deque[str] = deque()
        self._left_out = 0
        self._allowed = float(_AT_ONCE)
        self._allowed_at: float | None = None
        self._news = asyncio.Event()
        self._complaint = ""

    def pulled(self, _pull: LoggedPull, told: Mapping[str, Any]) -> None:
        """A pull is over: a listener of a PullLog."""
        if not self._may():
            self._left_out += 1
            return
        more = f" ({self._left_out} more were not told)" if self._left_out else ""
        self._left_out = 0
        self._waiting.append(sentence(told) + more)
        self._news.set()

    async def run(self) -> NoReturn:
        """Write them until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._write(self._waiting.popleft())

    async def _write(self, message: str) -> None:
        try:
            await self._events.write(REASON, message)
        except ApiFailed as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("no event of a pull could be written: %s", error)
        else:
            self._complaint = ""

    def _may(self) -> bool:
        now = asyncio.get_running_loop().time()
        since = 0.0 if self._allowed_at is None else now - self._allowed_at
        self._allowed = min(_AT_ONCE, self._allowed + since / _SECONDS_FOR_ONE)
        self._allowed_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def sentence(told: Mapping[str, Any]) -> str:
    """A pull as one sentence."""
    shares = ", ".join(f"{source} {100 * share:.0f} %" for source, share in list(told["sources"].items())[:4])
    seconds = (told["ended"] or told["began"]) - told["began"]
    slowed = f"; {'; '.join(told['slowed'])}" if told["slowed"] else ""
    return f"{told['image']}: {told['size'] / 1e6:.1f} MB in {seconds:.1f} s from {shares or 'nobody'}{slowed}"
