"""Waiting for bytes for so long at most."""

from __future__ import annotations

import socket

import pytest

from registryd.transfer.readiness import is_readable, wait_readable


async def test_silence_is_over_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        await wait_readable(ours.fileno(), seconds=0.1)


async def test_bytes_and_the_end_are_there_to_read() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            assert not is_readable(ours.fileno())
            theirs.send(b"x")
            await wait_readable(ours.fileno(), seconds=10)
            assert ours.recv(10) == b"x"
        assert is_readable(ours.fileno())
