"""Faulty peers on a host of their own: started, asked how often they were met, killed and started again."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from lab.commands import run
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.network import Host

_FIRST_PORT: Final = 3173
_PORTS_EACH: Final = 2  # to be asked at, and to give bytes at
# Each peer looks for its connections among all descriptors of its program, ten times a second. While nobody asked them
# anything, 62 peers took a fifth of a processor in one program, and a tenth in eight programs (measured).
_PEERS_EACH: Final = 8


class FaultyHost:
    """A peer for each of the characters, which may be named more than once. Eight share a program, and its death."""

    def __init__(self, host: Host, characters: Sequence[str], *, layouts: Sequence[Path], folder: Path) -> None:
        self.host = host
        peers = [f"--peer={name}={self._port(index)}" for index, name in enumerate(characters)]
        shares = [peers[first : first + _PEERS_EACH] for first in range(0, len(peers), _PEERS_EACH)]
        content = [f"--content={layout}" for layout in layouts]
        self._programs = [
            (folder / f"{host.name}-{number}.log", [sys.executable, "-m", "lab.faults", *content, *share])
            for number, share in enumerate(shares)
        ]
        self._processes: list[Process] = []

    async def start(self) -> None:
        """Return when all of them can be asked."""
        for log, argv in self._programs:
            log.unlink(missing_ok=True)
            self._processes.append(await Process.start(argv, log=log, namespace=self.host.namespace))
        await asyncio.gather(*(process.wait_ready(partial(_is_ready, process)) for process in self._processes))

    async def revive(self) -> None:
        """Plug its cable in again and start it anew, if a character of its own made that necessary."""
        await run("ip", "-n", self.host.namespace.name, "link", "set", "eth0", "up")
        if not self.is_running():
            await self.stop()
            await self.start()

    async def stop(self) -> None:
        for process in self._processes:
            await process.kill()
        self._processes.clear()

    def is_running(self) -> bool:
        """Whether all of them are."""
        return bool(self._processes) and all(process.is_running() for process in self._processes)

    def address(self, index: int = 0) -> str:
        """Where the peer with this index is asked: host:port."""
        return f"{self.host.ipv4}:{self._port(index)}"

    def met(self, character: str, kind: str) -> int:
        """How often peers of this character were about to give `small` or `large` content since the start."""
        return sum(_said(log).count(f"{character} {kind}") for log, _ in self._programs)

    def _port(self, index: int) -> int:
        return _FIRST_PORT + _PORTS_EACH * index


async def _is_ready(process: Process) -> bool:
    return "ready" in _said(process.log)


def _said(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()
