"""A network namespace, seen from outside: programs are started in it, sockets are opened in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from registryd.lab.commands import require, run
from registryd.lab.errors import CommandError, UnavailableError
from registryd.lab.leftovers import NAMESPACES, remove_namespace, unique_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000  # sched.h; os.setns and os.CLONE_NEWNET came with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    name: str

    @property
    def path(self) -> Path:
        return NAMESPACES / self.name

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside, in the same process.

        Not `ip netns exec`, which remounts /sys and so hides the cgroups from runc.
        """
        return ["nsenter", f"--net={self.path}", *argv]

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` on a thread that is inside. A socket that it opens stays inside for good."""
        with ThreadPoolExecutor(max_workers=1) as thread:  # of its own: it never leaves the namespace again
            return thread.submit(self._call_inside, function).result()

    def open_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return self.call(lambda: socket.socket(family, kind))

    def _call_inside(self, function: Callable[[], T]) -> T:
        with self.path.open() as file:
            if _libc.setns(file.fileno(), _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self.path))
        return function()


@contextlib.asynccontextmanager
async def new_namespace(label: str) -> AsyncIterator[Namespace]:
    """A namespace with its loopback up and nothing else. UnavailableError without the rights or the tools."""
    require("ip", package="iproute2")
    require("nsenter", package="util-linux")
    if os.geteuid() != 0:
        raise UnavailableError("network namespaces need root")
    namespace = Namespace(unique_name(label))
    try:
        await _create(namespace)
        yield namespace
    finally:
        await remove_namespace(namespace.name)


async def _create(namespace: Namespace) -> None:
    try:
        await run("ip", "netns", "add", namespace.name)
    except CommandError as error:
        raise UnavailableError(f"network namespaces cannot be made here: {error.said}") from error
    await run("ip", "-n", namespace.name, "link", "set", "lo", "up")
