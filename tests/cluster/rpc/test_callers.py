"""Connections at gRPC's door that have not called make room; those that have stay."""

from __future__ import annotations

import gc
import socket
import weakref
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from registryd.cluster.rpc import limits
from registryd.cluster.rpc.callers import Callers, CallRefused
from registryd.cluster.rpc.sockets import Sockets
from registryd.transfer.errors import SinkClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


class Door:
    """Connections as this process has accepted them; the other ends are here as well."""

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.sockets = Sockets(self.port)
        self.pairs: list[Pair] = []

    def connect(self, count: int) -> list[Pair]:
        for _ in range(count):
            client = socket.create_connection(self._listener.getsockname())
            self.pairs.append((client, self._listener.accept()[0]))
        return self.pairs[-count:]

    def can_be_connected(self) -> bool:
        """Whether the kernel lets anybody connect; the first packet would come again after a second."""
        with socket.socket() as client:
            client.settimeout(0.5)
            try:
                client.connect(self._listener.getsockname())
                self._listener.accept()[0].close()
            except TimeoutError:
                return False
            return True

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()
        self._listener.close()


@contextmanager
def opened() -> Iterator[Door]:
    door = Door()
    try:
        yield door
    finally:
        door.close()


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


def is_ended(pair: Pair) -> bool:
    client, _ = pair
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def is_shut(pair: Pair) -> bool:
    try:
        pair[1].send(b"more")
    except BlockingIOError:
        return False
    except BrokenPipeError:
        return True
    return False


class Context:
    """gRPC's, of a call over a connection."""

    def __init__(self, pair: Pair) -> None:
        self._port = pair[0].getsockname()[1]
        self._callbacks: list[Any] = []

    def peer(self) -> str:
        return f"ipv4:127.0.0.1:{self._port}"

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def is_taken(self) -> None:
        for callback in self._callbacks:
            callback(self)


class Gone(Context):
    """gRPC forgets who it was."""

    def peer(self) -> str:
        return ""


class Elsewhere(Context):
    """Of a call from another address."""

    def peer(self) -> str:
        return "ipv4:127.0.0.2:1234"


def answered(callers: Callers, pair: Pair, *, taken: bool = True) -> Context:
    context = Context(pair)
    with callers.call(context):
        pass
    if taken:
        context.is_taken()
    return context


def test_of_one_address_the_last_sixteen_that_have_not_called_stay(door: Door) -> None:
    callers = Callers(1000)
    door.connect(40)
    callers.look(door.sockets)
    assert [is_ended(pair) for pair in door.pairs] == [True] * 24 + [False] * 16


def test_those_that_have_called_stay(door: Door) -> None:
    callers = Callers(1000)
    called = door.connect(30)
    for pair in called:
        answered(callers, pair)
    silent = door.connect(20)
    callers.look(door.sockets)
    callers.look(door.sockets)
    assert not any(is_ended(pair) for pair in called)
    assert sum(is_ended(pair) for pair in silent) == 4


def test_a_look_is_due_when_a_descriptor_came_and_after_a_while_in_any_case(door: Door) -> None:
    now = 100.0
    callers = Callers(100, clock=lambda: now)
    assert callers.look_if_due(door.sockets) == 0
    door.connect(5)
    assert callers.look_if_due(door.sockets) == 5
    # One has gone and another has come: their number is the same.
    for end in door.pairs.pop(0):
        end.close()
    door.connect(1)
    assert callers.look_if_due(door.sockets) == 0
    now += 2.0
    assert callers.look_if_due(door.sockets) == 1


@pytest.mark.parametrize(("count", "is_worth_it"), [(60, True), (5, False)])
def test_the_memory_of_many_connections_is_given_back_after_a_while(
    *, count: int, is_worth_it: bool, door: Door
) -> None:
    now = 100.0
    callers = Callers(1000, clock=lambda: now)
    door.connect(count)
    callers.look_if_due(door.sockets)
    garbage = weakref.ref(Circle())
    gc.disable()
    try:
        for pair in door.pairs:
            for end in pair:
                end.close()
        door.pairs.clear()
        callers.look_if_due(door.sockets)
        assert garbage() is not None
        now += 30.0
        callers.look_if_due(door.sockets)
        assert (garbage() is None) == is_worth_it
        now += 30.0
        callers.look_if_due(door.sockets)
    finally:
        gc.enable()


class Circle:
    """What only the garbage collector ends."""

    def __init__(self) -> None:
        self.itself = self


def test_a_quarter_of_the_places_is_kept_free(door: Door) -> None:
    callers = Callers(20)
    called = door.connect(10)
    for pair in called:
        answered(callers, pair)
    silent = door.connect(10)
    callers.look(door.sockets)
    assert not any(is_ended(pair) for pair in called)
    assert sum(is_ended(pair) for pair in silent) == 5


def test_a_port_that_is_used_again_has_not_called(door: Door) -> None:
    callers = Callers(1000)
    (pair,) = door.connect(1)
    answered(callers, pair)
    callers.look(door.sockets)
    assert len(callers._called) == 1
    for end in pair:
        end.close()
    callers.look(door.sockets)
    assert not callers._called


def test_other_sockets_of_this_process_are_let_alone(door: Door) -> None:
    callers = Callers(1000)
    with opened() as other:
        others = other.connect(30)
        callers.look(door.sockets)
        assert not any(is_ended(pair) for pair in others)


def test_who_does_not_take_its_answers_is_ended_within_half_a_minute(door: Door) -> None:
    now = 0.0
    callers = Callers(1000, clock=lambda: now)
    idle, taking = door.connect(2)
    answered(callers, idle, taken=False)
    answered(callers, taking)
    now = 19.0
    callers.look(door.sockets)
    assert not is_ended(idle)
    now = 21.0
    callers.look(door.sockets)
    assert (is_ended(idle), is_ended(taking)) == (True, False)


def test_one_address_has_its_share_of_the_calls(door: Door) -> None:
    callers = Callers(1000)
    (pair,) = door.connect(1)
    contexts = [answered(callers, pair, taken=False) for _ in range(limits.MAX_CALLS_OF_ADDRESS)]
    with pytest.raises(CallRefused), callers.call(Context(pair)):
        pytest.fail("it is one too many")
    contexts[0].is_taken()
    answered(callers, pair)


async def test_one_address_has_its_share_of_the_reads(door: Door) -> None:
    callers = Callers(1000)
    (pair,) = door.connect(1)
    async with AsyncExitStack() as stack:
        for _ in range(limits.MAX_LARGE_READS_OF_ADDRESS):
            call = stack.enter_context(callers.call(Context(pair)))
            await stack.enter_async_context(callers.read(call, 1 << 30))
        with callers.call(Context(pair)) as call, pytest.raises(CallRefused):
            async with callers.read(call, 1 << 30):
                pytest.fail("it is one too many")


async def test_a_receiver_that_does_not_read_is_ended(door: Door) -> None:
    callers = Callers(1000)
    (pair,) = door.connect(1)
    with callers.call(Context(pair)) as call, pytest.raises(SinkClosed):
        async with callers.read(call, 1):
            raise SinkClosed("it takes nothing")
    callers.look(door.sockets)
    assert is_ended(pair)


def test_one_address_has_its_share_of_the_connections(door: Door) -> None:
    callers = Callers(1000)
    pairs = door.connect(limits.MAX_CONNECTIONS_OF_ADDRESS + 3)
    for pair in pairs:
        answered(callers, pair)
    callers.look(door.sockets)
    assert sum(is_ended(pair) for pair in pairs) == 3


def test_a_call_whose_message_never_comes_ends_with_its_connection(door: Door) -> None:
    now = 0.0
    callers = Callers(1000, clock=lambda: now)
    half, slow = door.connect(2)
    with callers.call(Context(half)), callers.call(Context(slow)) as call:
        callers.delay(call, 100)
        now = 21.0
        callers.look(door.sockets)
    assert (is_ended(half), is_ended(slow)) == (True, False)


def test_calls_beyond_the_pace_wait_and_those_of_others_do_not(door: Door) -> None:
    callers = Callers(1000, clock=lambda: 0.0)
    (pair,) = door.connect(1)
    for _ in range(int(limits.CALLS.burst)):
        context = Context(pair)
        with callers.call(context) as call:
            assert callers.delay(call, 10) == 0
        context.is_taken()
    with callers.call(Context(pair)) as call:
        assert callers.delay(call, 10) > 0
    with callers.call(Elsewhere(pair)) as call:
        assert callers.delay(call, 10) == 0


def test_who_goes_on_after_being_refused_is_barred_for_a_while(door: Door) -> None:
    now = 0.0
    callers = Callers(1000, clock=lambda: now)
    pairs = door.connect(2)
    under_way = [answered(callers, pairs[0], taken=False) for _ in range(limits.MAX_CALLS_OF_ADDRESS)]
    for _ in range(int(limits.REFUSALS.burst)):
        with pytest.raises(CallRefused), callers.call(Context(pairs[1])):
            pytest.fail("it is one too many")
    callers.look(door.sockets)
    assert not any(is_ended(pair) for pair in pairs)
    with pytest.raises(CallRefused), callers.call(Context(pairs[1])):
        pytest.fail("it is one too many")
    callers.look(door.sockets)
    assert all(is_ended(pair) for pair in pairs)
    assert not door.can_be_connected()
    for context in under_way:
        context.is_taken()
    now = limits.BARRED_SECONDS + 1
    callers.look(door.sockets)
    assert door.can_be_connected()
    for wait in (40, 80, 160, 320, 600, 600):
        callers._bar("127.0.0.1")
        now += wait - 1
        callers.look(door.sockets)
        assert callers._barred
        now += 2
        callers.look(door.sockets)
        assert not callers._barred
    now += limits.BAR_FORGOTTEN_SECONDS
    callers._bar("127.0.0.1")
    now += limits.BARRED_SECONDS + 1
    callers.look(door.sockets)
    assert not callers._barred


def test_who_has_all_connections_that_one_may_have_makes_no_more(door: Door) -> None:
    callers = Callers(1000)
    pairs = door.connect(limits.MAX_CONNECTIONS_OF_ADDRESS)
    for pair in pairs:
        answered(callers, pair)
    callers.look(door.sockets)
    assert not any(is_ended(pair) for pair in pairs)
    assert not door.can_be_connected()
    for end in pairs[0]:
        end.close()
    callers.look(door.sockets)
    assert door.can_be_connected()


def test_a_call_of_a_connection_that_has_ended_is_of_nobody(door: Door) -> None:
    (pair,) = door.connect(1)
    with pytest.raises(CallRefused), Callers(1000).call(Gone(pair)):
        pytest.fail("nobody is there")


def test_who_connects_again_and_again_is_barred(door: Door) -> None:
    callers = Callers(1000)
    for _ in range(int(limits.ARRIVALS.burst) // 8 + 2):
        for pair in door.connect(8):
            for end in pair:
                end.close()
        opened = door.connect(8)
        callers.look(door.sockets)
        for pair in opened:
            for end in pair:
                end.close()
        if not door.can_be_connected():
            return
    pytest.fail("it goes on")


def test_who_takes_nothing_from_its_connection_is_ended(door: Door) -> None:
    now = 0.0
    callers = Callers(1000, clock=lambda: now)
    deaf, reading = door.connect(2)
    for _, accepted in (deaf, reading):
        accepted.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                accepted.send(bytes(65536))
    for now in range(0, 100, 5):  # noqa: B007 - the clock's
        callers.look(door.sockets)
        reading[0].settimeout(0)
        with suppress(BlockingIOError):
            reading[0].recv(1 << 20)
    # What was sent to it before comes first.
    assert (is_shut(deaf), is_shut(reading)) == (True, False)
