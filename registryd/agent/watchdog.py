"""Telling systemd that the agent goes on, so that systemd ends an agent that stands still (sd_notify(3), WatchdogSec=).

containerd waits long for an agent that has taken a request and does not go on: each pull on the node with it.
Kubernetes has a probe for that, a bare node has systemd.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

# Of the time that systemd waits, as sd_watchdog_enabled(3) advises.
_SHARE: Final = 0.5
_LEAST_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The socket of whoever watches this process, and the seconds after which it has to hear something."""

    address: str
    seconds: float

    @classmethod
    def asked_for(cls, environment: Mapping[str, str], *, pid: int) -> Watchdog | None:
        """None where nobody watches this process."""
        address, watched = environment.get("NOTIFY_SOCKET", ""), environment.get("WATCHDOG_PID")
        is_address = address.startswith(("/", "@")) and len(address) > 1
        try:
            seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        except (ValueError, OverflowError):
            seconds = 0.0
        if not is_address or seconds <= 0 or (watched is not None and watched != str(pid)):
            return None
        return cls("\0" + address[1:] if address.startswith("@") else address, seconds)

    async def feed(self) -> NoReturn:
        """Say that the event loop goes on, until cancelled. Nobody who cannot be told ends the agent."""
        pause, is_heard = max(_LEAST_SECONDS, self.seconds * _SHARE), True
        while True:
            was_heard, is_heard = is_heard, self._tell()
            if was_heard and not is_heard:
                _log.warning("systemd does not hear that the agent goes on, and may end it (WatchdogSec=)")
            await asyncio.sleep(pause)

    def _tell(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(0)
            return notify.sendto(b"WATCHDOG=1", self.address) > 0
        return False


async def feed_watchdog() -> None:
    """Keep systemd's watchdog quiet until cancelled; returns at once where there is none."""
    watchdog = Watchdog.asked_for(os.environ, pid=os.getpid())
    if watchdog is not None:
        await watchdog.feed()
