"""One layer on its way from other nodes into this node's containerd, which may not have asked for it yet."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.cancelling import CancelScope
from registryd.content.growing import NotArrived, arriving_or_none
from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.breaking import send_until
from registryd.transfer.errors import SourceBroken
from registryd.transfer.inflow import InflowSink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.cluster.contract.index import ClaimReply
    from registryd.content.growing import Arrivals
    from registryd.content.sought import Sought
    from registryd.oci.digest import Digest
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflow, Inflows

_log = logging.getLogger(__name__)

# A node that intends to fetch a layer checks so often whether another node fetches it, whose claim was late. A node
# asks again no more often for a layer at which others are at work, if they do not let it wait.
_LOOK_SECONDS: Final = 1.0
# How long bytes are kept without a request until it is asked whether there will be one.
_UNASKED_SECONDS: Final = 60.0
# How long they are kept at most. The ingest of a client that was killed stays for a day, and looks wanted as long as
# bytes of it are here. A layer that waits longer than half an hour for its place is taken in anew.
_UNASKED_LONGEST_SECONDS: Final = 1800.0
# The least that a source at work gets between two looks: 70 KB/s, as for followed content (GROWING_STALL_TIMEOUT).
_MUCH_BYTES: Final = 1024 * 1024
# How often sources may fail one after the other before containerd's request has to look for itself.
_MOST_FAILURES: Final = 8


class Urgency(Enum):
    """The state of containerd's request in a claim: it will come, it waits, it cannot wait."""

    AHEAD = "ahead"
    ASKED = "asked"
    PRESSED = "pressed"


class State(Enum):
    """How far an intake is."""

    SEEKING = "seeking"
    OURS = "ours"
    """No other node gives it: containerd will be sent to the origin when it asks."""
    SENT_AWAY = "sent away"
    """containerd has asked, and was."""
    ELSEWHERE = "elsewhere"
    """Other nodes have all of it, and give it to whoever asks."""
    FLOWING = "flowing"
    OVER = "over"


class Finder(Protocol):
    """The source of layers."""

    async def claim(self, sought: Sought, size: int, urgency: Urgency) -> ClaimReply | None:
        """The nodes that are to give it to this one; None when no index node answers."""

    async def follow(self, sought: Sought, span: Span, verdict: ClaimReply) -> Body:
        """A body from one of these nodes, when its first byte is here. Raises ContentUnavailable, SourceBroken."""


class Intake:
    """Finds out where a layer comes from, and takes it in while other nodes are receiving it."""

    def __init__(  # noqa: PLR0913 - what it is and what it works with, all named
        self,
        sought: Sought,
        size: int,
        *,
        finder: Finder,
        inflows: Inflows,
        own: Arrivals,
        is_wanted: Callable[[Digest], Awaitable[bool]],
        tell: Callable[[], None],
    ) -> None:
        """`own` tells what containerd has of it, `is_wanted` whether containerd is still at it.

        `tell` is called after each change of the state.
        """
        self.sought = sought
        """The layer, and the name that it is taken in for."""
        self.digest = sought.digest
        self.size = size
        self.state = State.SEEKING
        self.since = asyncio.get_running_loop().time()
        """When it got into its state, in seconds of the event loop's clock."""
        self.verdict: ClaimReply | None = None
        """The latest."""
        self.inflow: Inflow | None = None
        self.heard_at = self.since
        """When a source was last known to be at work, and to have nothing of it yet that it may give."""
        self.moved_at = -math.inf
        """When one last had much more of it than before, that it must not give until all is there."""
        self._moved = 0
        self._failures = 0
        self._finder = finder
        self._inflows = inflows
        self._own = own
        self._is_wanted = is_wanted
        self._tell = tell
        self._given: Body | None = None
        self._read_at = self.since
        """When a request was last known to read it, or might have begun to."""
        self._urgency = Urgency.AHEAD
        self._asked = asyncio.Event()
        self._following = CancelScope()
        self._waiting: set[asyncio.Event] = set()

    # For containerd's requests

    def ask(self, urgency: Urgency) -> None:
        """Let it be known that containerd has asked."""
        if urgency is Urgency.PRESSED or self._urgency is Urgency.AHEAD:
            self._urgency = urgency
            self._asked.set()
        if urgency is Urgency.PRESSED:
            self._following.cancel()

    async def wait_changed(self) -> None:
        """Return after the next change of the state."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            await changed.wait()
        finally:
            self._waiting.discard(changed)

    # Its life

    async def run(self) -> None:
        """Return when containerd has all of it, gets it in another way, or does not want it any more."""
        try:
            while self._failures < _MOST_FAILURES and await self._take_in():
                pass
        finally:
            self.end()

    def give(self, body: Body) -> None:
        """The body that `take` takes in; the caller that gives it calls `release` in the end."""
        self._given = body

    async def take(self, span: Span) -> None:
        """Take in the span that the body which was given has."""
        body, self._given = self._given, None
        try:
            if body is not None:
                await self._pump(body, span)
        finally:
            self.end()

    async def release(self) -> None:
        """Close the body that was given if it is not being taken in."""
        body, self._given = self._given, None
        if body is not None:
            await body.aclose()

    def end(self) -> None:
        """There is nothing to wait for any more."""
        if self.state not in {State.SENT_AWAY, State.ELSEWHERE}:
            self._become(State.OVER)

    async def _pump(self, body: Body, span: Span) -> None:
        """Take in what this body gives, and keep it until containerd has it; closes the body."""
        with self._inflows.flowing(self.digest, span) as inflow:
            self.inflow = inflow
            self._read_at = asyncio.get_running_loop().time()
            self._become(State.FLOWING)
            unwanted = self._wait_unwanted(inflow)
            try:
                await send_until(unwanted, body, InflowSink(inflow))
            except SourceBroken as broken:
                inflow.fail(broken)
            finally:
                await body.aclose()
            await self._wait_used_up(inflow)

    async def _take_in(self) -> bool:
        """Whether to try again."""
        verdict = await self._seek()
        have = await self._available()
        if verdict is None or have is None:
            return False
        span = Span(have, self.size)
        begun = asyncio.get_running_loop().time()
        body, self._following = None, CancelScope()
        try:
            async with self._following:
                body = await self._finder.follow(self.sought, span, verdict)
        except NotArrived as wait:
            self._hear(wait.received)
            await self._pause(begun + _LOOK_SECONDS)
            return await self._is_waited_for()
        except (ContentUnavailable, SourceBroken) as reason:
            _log.debug("%s does not come: %s", self.digest, reason)
            self._failures += 1
            return True
        if body is None:
            return True  # pressed
        await self._pump(body, span)
        return False

    def _hear(self, received: int) -> None:
        """A source is at work, and has got so many bytes that it must not give yet."""
        self.heard_at = asyncio.get_running_loop().time()
        if received >= self._moved + _MUCH_BYTES:
            self._moved, self.moved_at = received, self.heard_at

    async def _seek(self) -> ClaimReply | None:
        """The nodes that give it; None when containerd is to look elsewhere, or does not want it any more."""
        while await self._available() is not None:
            self._asked.clear()
            urgency = self._urgency
            verdict = self.verdict = await self._finder.claim(self.sought, self.size, urgency)
            if self._urgency is Urgency.PRESSED and urgency is not Urgency.PRESSED:
                continue  # index nodes are to know
            if urgency is not Urgency.PRESSED and verdict is not None and verdict.sources:
                if not verdict.is_whole:
                    self._become(State.SEEKING)
                    return verdict
                self._become(State.ELSEWHERE)
                return None
            if urgency is not Urgency.AHEAD:
                self._become(State.SENT_AWAY)
                return None
            if not await self._is_waited_for():
                return None
            self._become(State.OURS)
            await self._pause(asyncio.get_running_loop().time() + _LOOK_SECONDS)
        return None

    async def _pause(self, until: float) -> None:
        """Wait so long, or until containerd asks."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._asked.wait()

    async def _is_waited_for(self) -> bool:
        return bool(self._waiting) or await self._is_wanted(self.digest)

    async def _available(self) -> int | None:
        """How much of it is here; None when containerd has all of it, or does not want it."""
        content = await arriving_or_none(self._own, self.digest)
        return content.received if content is not None and content.received < self.size else None

    async def _wait_used_up(self, inflow: Inflow) -> None:
        while not inflow.is_used_up and not await self._is_left_for_good(inflow):
            pass

    async def _wait_unwanted(self, inflow: Inflow) -> str:
        """Returns why nothing more is taken in."""
        while not await self._is_left_for_good(inflow):
            pass
        return "containerd does not want it any more"

    async def _is_left_for_good(self, inflow: Inflow) -> bool:
        """Return when a reader has ended, or none has come for long: whether none is going to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNASKED_SECONDS):
                await inflow.wait_left()
                self._read_at = asyncio.get_running_loop().time()
                return False
        now = asyncio.get_running_loop().time()
        if inflow.is_being_read:
            self._read_at = now
            return False
        return now - self._read_at >= _UNASKED_LONGEST_SECONDS or not await self._is_wanted(self.digest)

    def _become(self, state: State) -> None:
        if state is not self.state:
            self.state, self.since = state, asyncio.get_running_loop().time()
            for changed in self._waiting:
                changed.set()
            self._tell()
