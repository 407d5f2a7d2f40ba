"""A program that keeps running while the lab uses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lab.commands import require
from lab.errors import NotReadyError, ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from lab.namespaces import Namespace

_POLL_SECONDS = 0.02
_TAIL_BYTES = 3000


class Process:
    """A child of this process, its output in a log file.

    The kernel kills it when this process dies, however that happens. It has a session of its own, so that a Ctrl-C
    in the terminal reaches only us and we stop it in order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        log: Path,
        namespace: Namespace | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start it, in the namespace if one is given; `environment` is added to our own."""
        inside = namespace.command(*argv) if namespace else list(argv)
        command = [require("setpriv", package="util-linux"), "--pdeathsig", "KILL", *inside]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        return cls(argv[0].rpartition("/")[2], process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.returncode is None

    async def wait_ready(self, probe: Callable[[], Awaitable[bool]], *, timeout: float = 60) -> None:
        """Return when `probe` says yes. Raises ProcessDiedError or, after `timeout` seconds, NotReadyError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not await probe():
                    self.check_running()
                    await asyncio.sleep(_POLL_SECONDS)
                return
        raise NotReadyError(f"{self.name} (pid {self.pid}) is not ready after {timeout:g} s:\n{self.log_tail()}")

    def check_running(self) -> None:
        """Raise ProcessDiedError if it is not."""
        if not self.is_running():
            raise ProcessDiedError(f"{self.name} exited with {self._process.returncode}:\n{self.log_tail()}")

    def status_text(self) -> str:
        """What the kernel says of it: proc_pid_status(5)."""
        return Path(f"/proc/{self.pid}/status").read_text()

    def log_tail(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    async def stop(self, *, grace: float = 10) -> None:
        """Ask it to stop; kill it when it has not after `grace` seconds. Gone already is fine."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace)
        await self.kill()

    async def kill(self) -> None:
        """End it as a crash would: no notice, no clean-up."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    log: Path,
    namespace: Namespace | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Process]:
    """The program for the length of the block."""
    process = await Process.start(argv, log=log, namespace=namespace, environment=environment)
    try:
        yield process
    finally:
        await process.stop()
