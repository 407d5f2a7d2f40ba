"""The connections at the door of gRPC, and their calls: no address may have all of them.

gRPC accepts connections itself. It bounds their number, and ends handshakes that take too long. It does not know that
ten silent connections of one address should go before one connection of another. So the agent looks at this process's
sockets: which of them are connections to the door, and which of these have not carried a call yet (`rpc.sockets`).

Calls of one address have a pace: more calls are answered, but not sooner. A refusal costs as much as an answer. So an
address that goes on after many refusals is barred for a while: its connections end, and the kernel lets it make no new
ones.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from registryd.aio.pace import TooFast
from registryd.aio.shares import NoPlace, Shares
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.sockets import End, Sockets
from registryd.cluster.rpc.system_calls import give_back_memory
from registryd.identity.requester import Requester
from registryd.transfer.barring import bar
from registryd.transfer.errors import SinkClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from registryd.aio.pace import Pace
    from registryd.cluster.rpc.sockets import Connection

_log = logging.getLogger(__name__)

# Looking costs 4 microseconds for each descriptor, and may cost a hundredth of the time; a tenth as long as connections
# come: a member can open a thousand in a second, of 30 to 80 KB each.
_LOOK_SHARE: Final = 0.01
_LOOK_SECONDS: Final = (0.1, 1.0)
_BUSY_SHARE: Final = 0.1
_BUSY_SECONDS: Final = (0.02, 0.2)
# Looks while no descriptor comes or goes, for what changes with time alone: limits of half a minute and more. A look
# every tenth of a second cost an idle agent 0.005 of a processor.
_UNCHANGED_SECONDS: Final = 2.0
# Connections since the last look that make it so: a node opens one or two.
_BUSY_ARRIVALS: Final = 8
# After connections had to be ended, until the memory that they had is given back: gRPC is rid of them by then.
_GIVE_BACK_SECONDS: Final = 10.0
# Of one address, without a call: a node has one connection to another, and a few more while it restarts. Behind one
# address that is translated (NAT) there may be many nodes, which call as soon as they have connected.
_MOST_SILENT_OF_ADDRESS: Final = 16


class CallRefused(Exception):
    """The caller has as many calls under way as one address may have."""


@dataclass(slots=True, eq=False)
class Call:
    """One call, until gRPC is rid of its answer."""

    end: End
    due_since: float | None
    """Since when the other end is to do something: to send its message, then to take the answer."""
    has_share: bool = True


# Addresses whose past is known. Whoever can connect can be barred, be it no member.
_MOST_REMEMBERED: Final = 1024
_NOBODY: Final = End("", 0)


class Caller(Protocol):
    """The part of gRPC's context of a call that is needed here."""

    def peer(self) -> str: ...

    def add_done_callback(self, callback: Any, /) -> None: ...


class Callers:
    """The connected callers and their calls."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most`: connections that gRPC accepts."""
        self._most = most
        self._clock = clock
        self._called: set[End] = set()
        self._calls: dict[Call, None] = {}
        self._of_address: Counter[str] = Counter()
        self._idle: set[End] = set()
        """Whose answers are not taken: their connections are to be ended."""
        self._pace: Pace[str] = limits.pace(limits.CALLS, clock, longest=limits.CALL_PATIENCE)
        self._refusals: Pace[str] = limits.pace(limits.REFUSALS, clock)
        self._arrivals: Pace[str] = limits.pace(limits.ARRIVALS, clock)
        self._barred: dict[str, float] = {}
        """Addresses at which somebody does not stop, and until when nobody connects from there."""
        self._bars: dict[str, tuple[int, float]] = {}
        """How often each was barred, and until when the last time."""
        self._kept_out: set[str] = set()
        self._collect: Callable[[], object] = self._collect_garbage
        self._is_collected = False
        self._gives_back_at: float | None = None
        """When memory is given back that connections had which were ended."""
        self._wake = threading.Event()
        self._is_called = False
        """Whether the last pause was ended because somebody was barred."""
        self._next_look_at = clock()
        self._is_over = False
        self._small: Shares[str] = Shares(
            most=limits.MAX_SMALL_READS,
            most_of_one=limits.MAX_SMALL_READS_OF_ADDRESS,
            patience=limits.SMALL_READ_PATIENCE,
        )
        self._large: Shares[str] = Shares(most=limits.MAX_LARGE_READS, most_of_one=limits.MAX_LARGE_READS_OF_ADDRESS)

    @contextmanager
    def call(self, caller: Caller) -> Iterator[Call]:
        """Note a call that has begun, until it is answered. Raises CallRefused."""
        call = Call(_end_of_grpc(caller.peer()), self._clock())
        if call.end is _NOBODY:
            raise CallRefused("the connection has ended")
        self._called.add(call.end)
        self._calls[call] = None
        self._of_address[call.end.address] += 1
        caller.add_done_callback(lambda _: self._over(call))
        try:
            if self._of_address[call.end.address] > limits.MAX_CALLS_OF_ADDRESS:
                raise self._refusal(call, f"{limits.MAX_CALLS_OF_ADDRESS} calls are under way")
            yield call
        finally:
            call.due_since = self._clock()

    def delay(self, call: Call, size: int) -> float:
        """The message has come, of so many bytes: in how many seconds it may be answered. Raises CallRefused."""
        call.due_since = None
        try:
            return self._pace.take(call.end.address, limits.tokens(size))
        except TooFast as reason:
            raise self._refusal(call, str(reason)) from reason

    def _refusal(self, call: Call, reason: str) -> CallRefused:
        """The refusal of a call; a caller that goes on after many refusals is barred."""
        self._leave_share(call)
        try:
            self._refusals.take(call.end.address)
        except TooFast:
            self._bar(call.end.address)
        return CallRefused(f"too much at once from {call.end.address}: {reason}")

    def _bar(self, address: str) -> None:
        """For longer each time, unless it has been good for long."""
        now = self._clock()
        if address in self._barred:
            return
        times, until = self._bars.get(address, (0, now))
        if now - until > limits.BAR_FORGOTTEN_SECONDS:
            times = 0
        seconds = min(limits.BARRED_SECONDS * 2**times, limits.LONGEST_BARRED_SECONDS)
        if len(self._bars) >= _MOST_REMEMBERED:
            self._bars.clear()
        self._bars[address] = times + 1, now + seconds
        self._barred[address] = now + seconds
        _log.warning("%s asks for too much, and is left alone for %g s", address, seconds)
        self._wake.set()

    @asynccontextmanager
    async def read(self, call: Call, length: int) -> AsyncIterator[None]:
        """The place of a Read of that many bytes. Raises CallRefused, and ends callers that do not take the bytes."""
        places = self._small if length <= limits.READ_CHUNK_BYTES else self._large
        try:
            async with places.place(call.end.address):
                yield
        except NoPlace as error:
            raise CallRefused(f"busy: {error}") from error
        except SinkClosed:
            self._idle.add(call.end)
            raise

    def _over(self, call: Call) -> None:
        if call in self._calls:
            del self._calls[call]
            self._leave_share(call)

    def _leave_share(self, call: Call) -> None:
        if call.has_share:
            call.has_share = False
            self._of_address[call.end.address] -= 1
            if not self._of_address[call.end.address]:
                del self._of_address[call.end.address]

    @asynccontextmanager
    async def kept_within_bounds(self, port: int) -> AsyncIterator[None]:
        """End connections beyond the limits, for the length of the block.

        A thread of its own does this: while the loop works off a thousand calls, it would let in as many connections.
        """
        sockets = Sockets(port)
        self._collect = partial(asyncio.get_running_loop().call_soon_threadsafe, self._collect_garbage)
        for sock in sockets.listeners():
            with sock:
                sock.listen(limits.MAX_UNACCEPTED)
        thread = threading.Thread(target=self._keep_within_bounds, args=(sockets,), name="callers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over = True
            self._wake.set()
            await asyncio.to_thread(thread.join)

    def _keep_within_bounds(self, sockets: Sockets) -> None:
        while not self._is_over:
            began, arrived = time.thread_time(), 0
            try:
                arrived = self.look_if_due(sockets)
            except Exception as error:  # noqa: BLE001 - gRPC's own bounds hold all the same
                note_unexpected("looking at the connections of peers", error)
            took = time.thread_time() - began
            is_busy = arrived >= _BUSY_ARRIVALS
            shortest, longest = _BUSY_SECONDS if is_busy else _LOOK_SECONDS
            pause = took / (_BUSY_SHARE if is_busy else _LOOK_SHARE)
            self._is_called = self._wake.wait(min(longest, max(shortest, pause)))
            self._wake.clear()

    def look_if_due(self, sockets: Sockets) -> int:
        """Look if descriptors have come or gone, somebody was barred, or the last look is long ago; as `look`."""
        has_changed = sockets.has_changed()
        if not has_changed and not self._is_called and self._clock() < self._next_look_at:
            return 0
        self._next_look_at = self._clock() + _UNCHANGED_SECONDS
        arrived = self.look(sockets)
        if sockets.has_emptied():
            self._give_back_later()
        self._give_back()
        return arrived

    def look(self, sockets: Sockets) -> int:
        """Look at all connections, have the kernel let in no more than may come, and end those beyond the limits.

        Returns how many have come since the last look.

        This runs in another thread than the calls, so it works on copies of the state that both threads change.
        """
        called = list(self._called)
        new = sockets.see(self._clock())
        for one in new:
            try:
                self._arrivals.take(one.end.address)
            except TooFast:
                self._bar(one.end.address)
        connections = sockets.connections
        self._called.difference_update(set(called).difference(one.end for one in connections))
        silent = [one for one in connections if one.end not in self._called]
        # First of all no more come: ending a thousand takes a while.
        self._keep_out(sockets)
        ended = [*self._too_many(silent, len(connections)), *self._unwelcome(connections)]
        sockets.end(ended)
        if ended:
            self._give_back_later()
        return len(new)

    def _give_back_later(self) -> None:
        if self._gives_back_at is None:
            self._gives_back_at = self._clock() + _GIVE_BACK_SECONDS

    def _give_back(self) -> None:
        """First what is garbage, in the thread that it is of; at the next look, what malloc has of it."""
        if self._is_collected:
            self._is_collected = False
            give_back_memory()
        elif self._gives_back_at is not None and self._clock() >= self._gives_back_at:
            self._gives_back_at = None
            self._collect()

    def _collect_garbage(self) -> None:
        gc.collect()
        self._is_collected = True

    def _unwelcome(self, connections: list[Connection]) -> list[Connection]:
        """Connections with half made calls or untaken answers, of barred addresses, or beyond an address's share."""
        since = self._clock() - limits.UNTAKEN_SECONDS
        idle, self._idle = self._idle, set()
        idle |= {call.end for call in list(self._calls) if call.due_since is not None and call.due_since < since}
        of_address: Counter[str] = Counter()
        found = []
        for one in connections:
            of_address[one.end.address] += 1
            is_stuck = one.stuck_since is not None and one.stuck_since < since
            is_beyond = of_address[one.end.address] > limits.MAX_CONNECTIONS_OF_ADDRESS
            if is_stuck or is_beyond or one.end in idle or one.end.address in self._barred:
                found.append(one)
        return found

    def _keep_out(self, sockets: Sockets) -> None:
        """Have the kernel refuse addresses that are barred, or that have all the connections that one may have."""
        now = self._clock()
        for address in [one for one, until in list(self._barred.items()) if until <= now]:
            del self._barred[address]
        of_address = Counter(one.end.address for one in sockets.connections)
        full = [address for address, count in of_address.items() if count >= limits.MAX_CONNECTIONS_OF_ADDRESS]
        kept_out = {*self._barred, *full}
        if kept_out != self._kept_out:
            self._kept_out = kept_out
            for sock in sockets.listeners():
                with sock:
                    bar(sock, kept_out)

    def _too_many(self, silent: list[Connection], connected: int) -> Iterator[Connection]:
        """The last ones of each address stay, and of all no more than leave a quarter of the places free."""
        of_address: dict[str, int] = {}
        kept: list[Connection] = []
        for one in reversed(silent):
            count = of_address[one.end.address] = of_address.get(one.end.address, 0) + 1
            if count > _MOST_SILENT_OF_ADDRESS:
                connected -= 1
                yield one
            else:
                kept.append(one)
        while kept and 4 * connected > 3 * self._most:
            connected -= 1
            yield kept.pop()


@lru_cache(maxsize=1024)
def _end_of_grpc(peer: str) -> End:
    """The end of a gRPC peer; _NOBODY if gRPC does not know it any more, because the connection has ended."""
    if not peer:
        return _NOBODY
    _, _, endpoint = unquote(peer).partition(":")
    _, _, port = endpoint.rpartition(":")
    return End(Requester.of_grpc(peer).address, int(port))
