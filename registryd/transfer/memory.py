"""Reading a small body whole: what has to be verified before its first byte is sent on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.transfer.errors import SourceBroken
from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from registryd.transfer.body import Body


async def read_all(body: Body, *, limit: int) -> bytes:
    """The bytes of a body that has at most `limit` of them; closes it.

    Raises SourceBroken when it breaks, or when it is larger: then nothing is read.
    """
    sink = MemorySink()
    try:
        if body.length > limit:
            raise SourceBroken(f"{body.length} bytes are more than the {limit} that are read into memory")
        await body.send_to(sink)
    finally:
        await body.aclose()
    return bytes(sink.data)


class MemorySink(Sink):
    """Keeps the bytes that it is sent."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sent = 0

    async def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.sent += len(data)
