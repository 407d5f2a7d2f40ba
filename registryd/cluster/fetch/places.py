"""Which of containerd's requests may wait here for other nodes, and which have to give their place back.

A node that was told to fetch content from the origin can do so only with a free place (see `registryd.content.asker`).
So its own requests wait for no other node until the fetch has begun. Then no circle of nodes can form in which each
waits for a layer that the next one is to fetch, in whatever order they ask and however few places they have. The agent
ends a request that would have waited, and containerd asks again. The queue for places is first in, first out: when the
request comes again, the content to be fetched has got its place. containerd gives up a layer after four ends without a
byte, so the agent ends a request at most twice at each byte. After that the layer is fetched from the origin, too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio import clock
from registryd.aio.cancelling import CancelScope
from registryd.aio.scope import alongside
from registryd.content.asker import AskAgain, current_asker
from registryd.content.growing import arriving_or_none
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from registryd.content.growing import Arrivals
    from registryd.oci.digest import Digest

# containerd fails a pull with the fourth end without a byte in a row (httpReadSeeker's maxRetry; tried with 2.3.7 and
# 2.4.2). One end is left for the host that gives containerd the content in the end. After a byte from any host the next
# request begins at another byte, so ends are counted by the byte at which requests begin.
_MOST_ENDS: Final = 2
# Of these ends, the number for requests that would only become quicker.
_MOST_TURNS: Final = 1
_REMEMBERED: Final = 2_000
# An answer within this time counts as no wait: a question to a peer takes milliseconds.
_QUICK_SECONDS: Final = 0.05
# Of the places that containerd is known to have, so many are left for what is to be fetched.
_LEFT_FREE: Final = 1
# How long it is known how many that are.
_FORGOTTEN_SECONDS: Final = 10.0
# Other content that containerd wants to fetch, also of other images, waits no longer than this for one place.
_TURN_SECONDS: Final = 2.0


class Intentions(Protocol):
    """This node's knowledge of its containerd's next requests."""

    def to_be_asked(self) -> Mapping[Digest, float]:
        """The content that containerd will be told to fetch and has not asked for yet, and since when this is known."""

    def is_idle(self) -> bool:
        """Whether nothing is being sent to containerd, though there is something that it has not asked for."""


class Pressed(ContentUnavailable):
    """The request can neither wait nor be asked again."""


@dataclass(slots=True)
class _Ends:
    count: int = 0
    latest: float = 0.0


class Places:
    """Knows what this node has been told to fetch, and ends waits that keep it from beginning."""

    def __init__(self, own: Arrivals, intentions: Intentions) -> None:
        self._own = own
        self._intentions = intentions
        self._promised: dict[Digest, float] = {}
        self._ends: OrderedDict[tuple[Digest, int], _Ends] = OrderedDict()
        self._watching: set[asyncio.Event] = set()
        self._present = 0
        self._known = 1
        self._left_at = 0.0
        self.lines_up = False
        """Whether containerd asks for all layers of an image at once, as its latest request tells."""

    @contextmanager
    def present(self) -> Iterator[None]:
        """A request of containerd is being answered: it has so many places at least."""
        asker = current_asker()
        if asker is not None:
            self.lines_up = asker.lines_up
        if asker is None or not asker.lines_up:
            yield
            return
        if not self._present and clock.now() - self._left_at > _FORGOTTEN_SECONDS:
            self._known = 1  # it may have been restarted with fewer
        self._present += 1
        self._known = max(self._known, self._present)
        try:
            yield
        finally:
            self._present -= 1
            self._left_at = clock.now()

    def promise(self, digest: Digest) -> None:
        """Note that containerd is sent to the origin for it."""
        asker = current_asker()
        if asker is not None and asker.lines_up:
            self._promised[digest] = clock.now()
            if len(self._promised) > _REMEMBERED:  # nobody waits, or containerd's files cannot be seen here
                del self._promised[next(iter(self._promised))]
            self.tell()

    def tell(self) -> None:
        """Something has changed that waits depend on."""
        for watching in self._watching:
            watching.set()

    def may_end(self, digest: Digest, start: int) -> bool:
        """Whether a request for what begins there may be ended without a byte once more."""
        return self._ended(digest, start).count < _MOST_ENDS

    def end(self, digest: Digest, start: int) -> None:
        """A request for what begins there is ended without a byte."""
        self._ends[digest, start] = _Ends(self._ended(digest, start).count + 1, clock.now())
        self._ends.move_to_end((digest, start))
        if len(self._ends) > _REMEMBERED:
            self._ends.popitem(last=False)

    async def forget_ended(self) -> None:
        """Forget the ends of what containerd is not receiving any more: when it comes again, it counts anew."""
        for digest in {digest for digest, _ in self._ends}:
            if await arriving_or_none(self._own, digest) is None:
                for key in [key for key in self._ends if key[0] == digest]:
                    del self._ends[key]

    @asynccontextmanager
    async def waiting(self, digest: Digest, size: int, start: int = 0) -> AsyncIterator[None]:
        """A wait of containerd's request for others; raises AskAgain or Pressed when it has to end.

        The request is for content of that `size`, from byte `start` on. Waits without a client's request, and waits of
        clients whose requests keep no place, are not ended.
        """
        asker = current_asker()
        if asker is None or not asker.lines_up:
            yield
            return
        wait = CancelScope()
        async with wait, alongside(self._watch(digest, start, wait), name="watching a request that waits"):
            yield
        if not wait.cancelled_caught:
            return
        if not self.may_end(digest, start):
            raise Pressed("this node is to fetch something else")
        self.end(digest, start)
        raise AskAgain(size)

    async def _watch(self, digest: Digest, start: int, wait: CancelScope) -> None:
        changed = asyncio.Event()
        self._watching.add(changed)
        begun = clock.now()
        try:
            await asyncio.sleep(_QUICK_SECONDS)
            while not await self._is_to_end(digest, start, begun):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TURN_SECONDS):
                        await changed.wait()
                changed.clear()  # before the next look, which takes a moment: what changes meanwhile is looked at again
            wait.cancel()
        except Exception:
            wait.cancel()  # nobody else ever would
            raise
        finally:
            self._watching.discard(changed)

    async def _is_to_end(self, digest: Digest, start: int, begun: float) -> bool:
        is_needed = await self._is_needed(digest, self._ended(digest, start))
        return is_needed or self._had_its_turn(self._ended(digest, start), clock.now() - begun)

    def _had_its_turn(self, ended: _Ends, seconds: float) -> bool:
        if ended.count >= _MOST_TURNS:
            return False
        return seconds >= _TURN_SECONDS or self._intentions.is_idle()

    async def _is_needed(self, digest: Digest, ended: _Ends) -> bool:
        """Whether there is something to be fetched that may be behind this request in the line."""
        for promised in tuple(self._promised):
            if not await self._is_to_begin(promised):
                self._promised.pop(promised, None)
        if len(self._watching) <= self._known - _LEFT_FREE:
            return False
        waiting = {**self._intentions.to_be_asked(), **self._promised}
        return any(since >= ended.latest for other, since in waiting.items() if other != digest)

    async def _is_to_begin(self, digest: Digest) -> bool:
        """Whether containerd means to have it, and has not got a byte yet."""
        content = await arriving_or_none(self._own, digest)
        return content is not None and not content.received

    def _ended(self, digest: Digest, start: int) -> _Ends:
        return self._ends.get((digest, start)) or _Ends()
