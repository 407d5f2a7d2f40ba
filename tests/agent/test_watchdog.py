"""systemd's watchdog hears of an agent as long as its event loop goes on, and of nothing else."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from registryd.agent.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(0)
        yield listener


def heard(systemd: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(systemd.recv(100))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_it_is_fed_while_the_loop_goes_on(tmp_path: Path, systemd: socket.socket, *, is_abstract: bool) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000", "WATCHDOG_PID": "7"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        if is_abstract:
            name = f"registryd-test-{tmp_path.name}"
            abstract.bind(f"\0{name}")
            abstract.settimeout(0)
            environment["NOTIFY_SOCKET"] = f"@{name}"
        listener = abstract if is_abstract else systemd
        watchdog = Watchdog.asked_for(environment, pid=7)
        assert watchdog is not None
        feeding = asyncio.create_task(watchdog.feed())
        await asyncio.sleep(1.1)
        assert len(found := heard(listener)) >= 3
        assert set(found) == {b"WATCHDOG=1"}
        time.sleep(1)  # noqa: ASYNC251 - the loop stands still
        assert heard(listener) == []
        feeding.cancel()


@pytest.mark.parametrize(
    "change",
    [
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/"},
        {"NOTIFY_SOCKET": "relative"},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "9" * 5000},
        {"WATCHDOG_PID": "8"},
    ],
)
def test_nobody_watches(change: dict[str, str]) -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "400000", "WATCHDOG_PID": "7"}
    assert Watchdog.asked_for(environment, pid=7) == Watchdog("/run/notify", 0.4)
    assert Watchdog.asked_for(environment | change, pid=7) is None


async def test_a_watchdog_that_is_gone_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    feeding = asyncio.create_task(Watchdog(str(tmp_path / "nobody"), 0.2).feed())
    await asyncio.sleep(0.5)
    assert not feeding.done()
    assert len(caplog.records) == 1
    feeding.cancel()
