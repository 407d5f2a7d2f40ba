"""A network namespace, seen from outside: programs are started in it, sockets are opened in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from lab.commands import require, run
from lab.congestion import LOOPBACK_ROUTES, choose_for
from lab.errors import CommandError, UnavailableError
from lab.leftovers import NAMESPACES, remove_namespace, unique_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

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
        """Call `function` inside. A socket that it opens stays inside for good."""
        with self.entered():
            return function()

    def open_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return self.call(lambda: socket.socket(family, kind))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside, with all that it starts, threads and processes; then it goes back where it was."""
        with Path("/proc/thread-self/ns/net").open() as outside, self.path.open() as inside:
            _enter(inside)
            try:
                yield
            finally:
                _enter(outside)


def _enter(file: TextIO) -> None:
    if _libc.setns(file.fileno(), _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), file.name)


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
    commands = ["link set lo up", *choose_for(*LOOPBACK_ROUTES)]
    await run("ip", "-n", namespace.name, "-batch", "-", stdin="\n".join(commands))
