"""A few calls of the system during which Python's lock is kept.

Python gives its lock away around each call. On a busy machine the thread that takes it may wait for a processor while
it has it: looking at 1,400 descriptors, which is 10 ms of work, took a second and more, in which a thousand further
connections were accepted. None of these calls can wait for anything.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# The names are those of POSIX; of the standard library, since every Python is linked with it.
_libc: Final = ctypes.PyDLL(None)
# sizeof(struct sockaddr_in6); of other families only what fits is written.
_ADDRESS_BYTES: Final = 28
_address: Final = ctypes.create_string_buffer(_ADDRESS_BYTES)
_length: Final = ctypes.c_uint32()
_count: Final = ctypes.c_int()
_FOLDER: Final = "/proc/self/fd"
# linux_dirent64, getdents64(2): inode, offset, length of the entry, kind; then its name, which ends with a zero.
_ENTRY: Final = struct.Struct("=QqHB")
_entries: Final = ctypes.create_string_buffer(32 * 1024)


def give_back_memory() -> None:
    """Have malloc give the system the pages between what is in use; Python's lock is not kept.

    The memory that a thousand connections of gRPC needed lies among memory in use, and malloc by itself gives back only
    memory at the end. The call takes some milliseconds for each 10 MiB, in which other threads wait if they need
    memory. musl does not have this call, and gives memory back at once.
    """
    if hasattr(_libc, "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def descriptors() -> list[int]:
    """The open descriptors of this process, and one that it had meanwhile."""
    if not hasattr(_libc, "getdents64"):  # glibc before 2.30
        return [int(name) for name in os.listdir(_FOLDER)]  # noqa: PTH208 - their number is all that is wanted
    folder = os.open(_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found: list[int] = []
        while (size := _libc.getdents64(folder, _entries, len(_entries))) > 0:
            found += _numbers(_entries.raw[:size])
        return found
    finally:
        os.close(folder)


def open_descriptors(folder: str = _FOLDER) -> int | tuple[int, ...]:
    """Something that changes with the number of descriptors: the number itself, which Linux tells since 6.2."""
    return os.stat(folder).st_size or tuple(descriptors())  # noqa: PTH116 - ten times a second


def _numbers(entries: bytes) -> list[int]:
    at, found = 0, []
    while at < len(entries):
        _, _, length, _ = _ENTRY.unpack_from(entries, at)
        name = entries[at + _ENTRY.size : at + length].partition(b"\0")[0]
        if name.isdigit():
            found.append(int(name))
        at += length
    return found


def other_end(descriptor: int) -> bytes | None:
    """The address of the other end as the kernel writes it; None if it is no connected socket."""
    return _end(_libc.getpeername, descriptor)


def own_end(descriptor: int) -> bytes | None:
    """The same of this end; None if it is no socket."""
    return _end(_libc.getsockname, descriptor)


def _end(call: Callable[..., int], descriptor: int) -> bytes | None:
    _length.value = _ADDRESS_BYTES
    if call(descriptor, _address, ctypes.byref(_length)) != 0:
        return None
    return _address.raw[: _length.value]


def host_and_port(address: bytes) -> tuple[str, int] | None:
    """Host and port of such an address; None if it is of another family than IP."""
    family, port = int.from_bytes(address[:2], sys.byteorder), int.from_bytes(address[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, address[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, address[8:24]), port
    return None


def unacknowledged_bytes(descriptor: int) -> int:
    """The sent bytes of a connection that the other end has not acknowledged; 0 if it is closed."""
    _count.value = 0
    if _libc.ioctl(descriptor, termios.TIOCOUTQ, ctypes.byref(_count)) != 0:
        return 0
    return _count.value


def shut_down(descriptor: int, address: bytes) -> None:
    """End a connection, if it is still the one with the other end at this address."""
    # A duplicate: whose it is may close it, and its number be another's, between two calls.
    if (copy := _libc.dup(descriptor)) < 0:
        return
    if other_end(copy) == address:
        _libc.shutdown(copy, socket.SHUT_RDWR)
    _libc.close(copy)
