"""What the kernel says of descriptors, next to what Python says."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from registryd.cluster.rpc import system_calls


def test_all_descriptors_are_there() -> None:
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]  # more than one call of the kernel tells
    try:
        assert set(opened) <= set(system_calls.descriptors())
    finally:
        for descriptor in opened:
            os.close(descriptor)
    # The folder of them was one itself while it was read.
    assert len(set(opened) & set(system_calls.descriptors())) <= 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ends_of_a_connection(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        assert system_calls.other_end(listener.fileno()) is None
        with socket.create_connection(listener.getsockname()[:2]) as client, closing(listener.accept()[0]) as accepted:
            other, own = system_calls.other_end(accepted.fileno()), system_calls.own_end(accepted.fileno())
            assert other is not None
            assert own is not None
            assert system_calls.host_and_port(other) == client.getsockname()[:2]
            assert system_calls.host_and_port(own) == listener.getsockname()[:2]
            system_calls.shut_down(accepted.fileno(), own)
            client.setblocking(False)  # noqa: FBT003 - a name of the standard library's
            with pytest.raises(BlockingIOError):
                client.recv(1)
            system_calls.shut_down(accepted.fileno(), other)
            client.settimeout(60)
            assert client.recv(1) == b""


def test_what_is_no_connection_of_ip() -> None:
    left, right = socket.socketpair()
    with left, right:
        address = system_calls.other_end(left.fileno())
        assert address is not None
        assert system_calls.host_and_port(address) is None
    assert system_calls.other_end(-1) is None
    assert system_calls.own_end(-1) is None
    assert system_calls.unacknowledged_bytes(-1) == 0
    system_calls.shut_down(-1, b"")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="musl gives memory back at once")
def test_memory_between_what_is_in_use_is_given_back() -> None:
    blocks = [bytearray(b"x" * 60_000) for _ in range(600)]
    kept = blocks[9::10]
    del blocks
    before = resident_bytes()
    system_calls.give_back_memory()
    assert before - resident_bytes() > 16 << 20
    assert len(kept) == 60


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Before 6.2 Linux gave the folder of descriptors no size, as it gives the other one none.
@pytest.mark.parametrize("folder", ["/proc/self/fd", "/proc/self"])
def test_a_descriptor_that_comes_or_goes_is_noticed(folder: str) -> None:
    before = system_calls.open_descriptors(folder)
    assert system_calls.open_descriptors(folder) == before
    opened = os.open(os.devnull, os.O_RDONLY)
    assert system_calls.open_descriptors(folder) != before
    os.close(opened)
    assert system_calls.open_descriptors(folder) == before
