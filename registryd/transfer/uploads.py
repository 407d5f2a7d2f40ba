"""How many bodies this node sends to peers at once, and how quickly all of them together.

The kernel keeps each connection to its share of the rate. Bytes that come to this node are limited by
`registryd.transfer.allowance`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from registryd.transfer.allowance import Priority
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Iterator

# asm-generic/socket.h; not among the constants of Python's socket module. Bytes a second, 32 bits; all ones: no limit.
_SO_MAX_PACING_RATE: Final = 47
_UNLIMITED: Final = 2**32 - 1
# How much of a body the kernel takes ahead of its pace (TCP_NOTSENT_LOWAT): a 64th of a second, or two of its largest
# segments. Its send buffer, of 4 MiB by default (tcp_wmem), would take a whole piece of a layer at once: the upload
# would be over before its bytes are sent, and the next ones would get the rate once more (seen: five times the rate).
_LEAST_AHEAD: Final = 128 * 1024
_AHEAD_SHARE: Final = 64
_AS_THE_SYSTEM: Final = 0
# A share of the rate is never less: four times the pace at which a receiver leaves a source (monitoring.floor).
_LEAST_SHARE: Final = 1024 * 1024
# Of one receiver, however few there may be in all: a node takes three layers of an image at a time, and several ahead.
_LEAST_OF_ONE: Final = 8


# The header in which a receiver says that it asks for a part of a body; agents of older versions ignore it.
PART_HEADER: Final = "Registryd-Part"
# Whom a receiver wants a body for (`registryd.transfer.allowance.Priority`); likewise.
PRIORITY_HEADER: Final = "Registryd-Priority"
# How many shares of the rate an upload has. Half: with a quarter, LEAST_SHARE would be the pace at which it is left.
_SHARES: Final = {Priority.PULL: 2, Priority.BACKGROUND: 1}
# A stripe takes an eighth of the place and of the rate that all of a body takes: a node gives each of twelve layers to
# eight others at once, and no more bytes than one who gives each of these layers to one.
_OF_STRIPE: Final = 1
_OF_WHOLE: Final = STRIPES


class Part(Enum):
    """Which part of a body an upload is, for a receiver that gets it in several."""

    FIRST = ""
    """Its beginning, or all of it."""
    NEXT = "next"
    """One that goes on with what this node has begun: to refuse it would break a body off."""
    EXTRA = "extra"
    """One that another node could give as well: only as long as there is room for many others."""

    @classmethod
    def named(cls, text: str) -> Part:
        """The part that a receiver names; FIRST when the receiver names no known part."""
        return next((part for part in cls if part.value == text), cls.FIRST)


class UploadRefused(Exception):
    """There are as many uploads as there may be."""


# How many of the places, and how much of the rate, there is for each part.
_PLACES: Final = {Part.FIRST: 1.0, Part.NEXT: 1.25, Part.EXTRA: 0.5}


class Socket(Protocol):
    """As much of a socket as asyncio gives away of a transport's."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


class Upload:
    """One body on its way to a peer."""

    def __init__(  # noqa: PLR0913 - what it is, all named
        self,
        uploads: Uploads,
        sock: Socket | None,
        *,
        part: Part,
        receiver: str,
        priority: Priority,
        is_stripe: bool,
    ) -> None:
        self._uploads = uploads
        self._sock = sock
        self.part = part
        self.receiver = receiver
        self.weight = _weight(is_stripe=is_stripe)
        """The places that it takes, in eighths."""
        self.shares = _SHARES[priority] * self.weight

    async def pace(self, count: int) -> None:
        """Sleep for as long as that many bytes may take; for senders without a socket of their own."""
        if rate := self._uploads.rate_of(self):
            await asyncio.sleep(count / rate)

    def limit(self, bytes_per_second: int) -> None:
        """Let the kernel send no more than that on its connection."""
        if self._sock is not None:
            is_limited = bytes_per_second != _UNLIMITED
            ahead = max(_LEAST_AHEAD, bytes_per_second // _AHEAD_SHARE) if is_limited else _AS_THE_SYSTEM
            with suppress(OSError):  # not TCP, or closed meanwhile
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("=I", bytes_per_second))
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, struct.pack("=I", ahead))


class Uploads:
    """Places for uploads. A receiver without a place is told "busy" and goes elsewhere, so that no upload becomes slow.

    The kernel keeps the rate of each connection. Each connection gets its share, adjusted whenever an upload begins or
    ends. A connection keeps its share after a body, because the kernel still has the end of it, until its next body
    begins. A background body gets half the share of another body. The part of its share that a slow receiver leaves
    unused is not given to others.
    """

    def __init__(self, *, most: int = sys.maxsize, bytes_per_second: int = 0) -> None:
        """`most` bodies at once; 0 bytes per second: as quickly as the link goes."""
        self._most = most
        self._bytes_per_second = bytes_per_second
        self._running: set[Upload] = set()
        self._has_limited = bytes_per_second > 0

    @property
    def count(self) -> int:
        """How many there are now, without those that another node could give as well."""
        return sum(upload.part is not Part.EXTRA for upload in self._running)

    def is_busy(self, *, is_stripe: bool = False) -> bool:
        """Whether another one would be one too many; with a rate so low that not even two fit, one fits."""
        return not self._has_room(Part.FIRST, is_stripe=is_stripe)

    def _has_room(self, part: Part, *, is_stripe: bool) -> bool:
        taken, places = sum(upload.weight for upload in self._running), _PLACES[part] * _OF_WHOLE
        if taken >= self._most * places:
            return False
        needed = _LEAST_SHARE * (taken + _weight(is_stripe=is_stripe))
        return not (taken and self._bytes_per_second) or self._bytes_per_second * places >= needed

    def rate_of(self, upload: Upload) -> int:
        """Bytes a second of a running upload; 0: no limit."""
        limit = self._bytes_per_second * upload.shares // max(1, sum(each.shares for each in self._running))
        return limit if limit < _UNLIMITED else 0

    def set_rate(self, bytes_per_second: int) -> None:
        """Set the rate from now on, also for running uploads; 0: no limit."""
        before, self._bytes_per_second = self._bytes_per_second, bytes_per_second
        self._has_limited = self._has_limited or bytes_per_second > 0
        if before and not bytes_per_second:
            for upload in self._running:
                upload.limit(_UNLIMITED)
        self._share_anew()

    @contextmanager
    def begin(
        self,
        sock: Socket | None = None,
        part: Part = Part.FIRST,
        *,
        receiver: str = "",
        priority: Priority = Priority.PULL,
        is_stripe: bool = False,
    ) -> Iterator[Upload]:
        """One upload, for the length of the block; of those to one receiver, if it is named, a quarter of all may run.

        Raises UploadRefused.
        """
        if not self._has_room(part, is_stripe=is_stripe):
            raise UploadRefused(f"{len(self._running)} uploads are under way")
        of_one = [other.weight for other in self._running if other.receiver == receiver]
        share = max(_LEAST_OF_ONE, self._most // 4)
        # Half as many again may go on with what this node has begun.
        if receiver and sum(of_one) >= (share + share // 2 if part is Part.NEXT else share) * _OF_WHOLE:
            raise UploadRefused(f"{len(of_one)} uploads to {receiver} are under way")
        upload = Upload(self, sock, part=part, receiver=receiver, priority=priority, is_stripe=is_stripe)
        self._running.add(upload)
        if self._has_limited and not self._bytes_per_second:
            upload.limit(_UNLIMITED)  # its connection may have a share of an earlier rate
        self._share_anew()
        try:
            yield upload
        finally:
            self._running.discard(upload)
            self._share_anew()

    def _share_anew(self) -> None:
        if not self._bytes_per_second:
            return
        for upload in self._running:
            upload.limit(self.rate_of(upload) or _UNLIMITED)


def _weight(*, is_stripe: bool) -> int:
    return _OF_STRIPE if is_stripe else _OF_WHOLE
