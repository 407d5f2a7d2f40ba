"""Faulty peers on a host of their own: started, asked how often they were met, killed and started again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from lab.commands import run
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.network import Host

_FIRST_PORT: Final = 3173
_PORTS_EACH: Final = 2  # to be asked at, and to give bytes at


class FaultyHost:
    """One program with a peer for each of the characters, which may be named more than once."""

    def __init__(self, host: Host, characters: Sequence[str], *, layouts: Sequence[Path], folder: Path) -> None:
        self.host = host
        self._characters = tuple(characters)
        self._layouts = tuple(layouts)
        self._log = folder / f"{host.name}.log"
        self._process: Process | None = None

    async def start(self) -> None:
        """Return when all of them can be asked."""
        argv = [sys.executable, "-m", "lab.faults"]
        argv += [f"--content={layout}" for layout in self._layouts]
        argv += [f"--peer={name}={self._port(index)}" for index, name in enumerate(self._characters)]
        self._log.unlink(missing_ok=True)
        self._process = await Process.start(argv, log=self._log, namespace=self.host.namespace)
        await self._process.wait_ready(self._is_ready)

    async def revive(self) -> None:
        """Plug its cable in again and start it anew, if a character of its own made that necessary."""
        await run("ip", "-n", self.host.namespace.name, "link", "set", "eth0", "up")
        if not self.is_running():
            await self.start()

    async def stop(self) -> None:
        if self._process:
            await self._process.kill()

    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running()

    def address(self, index: int = 0) -> str:
        """Where the peer with this index is asked: host:port."""
        return f"{self.host.ipv4}:{self._port(index)}"

    def met(self, character: str, kind: str) -> int:
        """How often peers of this character were about to give `small` or `large` content since the start."""
        return self._said().count(f"{character} {kind}")

    def _port(self, index: int) -> int:
        return _FIRST_PORT + _PORTS_EACH * index

    async def _is_ready(self) -> bool:
        return "ready" in self._said()

    def _said(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()
