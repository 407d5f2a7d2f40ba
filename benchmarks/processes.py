"""Servers under test: started for the run, measured from outside, gone at its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running process and the processes it started."""

    pid: int

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it meanwhile, as a machine that hangs: the kernel still accepts its connections, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far, in the nanoseconds of the scheduler."""
        schedstats = [task / "schedstat" for process in self._processes() for task in process.glob("task/*")]
        return sum(int(schedstat.read_text().split()[0]) for schedstat in schedstats) / 1e9

    def resident_bytes(self) -> int:
        """Resident memory now."""
        return sum(_status(process, "VmRSS") for process in self._processes())

    def _processes(self) -> list[Path]:
        own = Path(f"/proc/{self.pid}")
        children = (own / f"task/{self.pid}/children").read_text().split()
        return [own, *(Path(f"/proc/{child}") for child in children)]


def _status(process: Path, field: str) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


@contextmanager
def running(
    command: Sequence[str], *, ports: Sequence[int], host: str = "127.0.0.1", log: Path | None = None
) -> Iterator[Server]:
    """Start a server, wait until it accepts on its ports, terminate it at the end; `log` gets what it says."""
    with (log or Path("/dev/stderr")).open("ab") as output, subprocess.Popen(command, stderr=output) as process:
        try:
            for port in ports:
                _wait_accepting(process, (host, port))
            yield Server(process.pid)
        finally:
            process.terminate()


def _wait_accepting(process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"{process.args!r} does not listen on {address}")


@contextmanager
def watching_memory(server: Server) -> Iterator[list[int]]:
    """Look at resident memory every 20 ms meanwhile; the list fills with what was added since the beginning."""
    before = server.resident_bytes()
    added: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            added.append(server.resident_bytes() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield added
    finally:
        over.set()
        watcher.join()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
