"""Bytes that pass through here on their way into this node's store, for those who get them from this node.

containerd writes what it receives 1 MiB at a time. A node that followed the file alone would be so far behind the one
before it, with each of three layers, and a chain of nodes by as much at every link. So the latest bytes of a relay are
kept until the file has them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from registryd.aio.file_events import Changes
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

# What containerd is about to write, and what its socket holds when it is as quick as the link.
_KEPT_BYTES: Final = 1536 * 1024
# Followers are told of so many at a time: each telling costs a turn of the event loop for each of them, here and in all
# nodes below. An eighth of containerd's step.
_STEP_BYTES: Final = 128 * 1024


class Passage:
    """The latest bytes of one relay."""

    def __init__(self, span: Span, tell: Callable[[], None]) -> None:
        self._chunks: deque[bytes] = deque()
        self._start = span.start
        self._end = span.start
        self._told = span.start
        self._stop = span.stop
        self._tell = tell

    @property
    def end(self) -> int:
        """The place in the content of the bytes that are to be put next."""
        return self._end

    def put(self, data: bytes | memoryview) -> None:
        """The next bytes; they are copied."""
        self._chunks.append(bytes(data))
        self._end += len(data)
        while self._end - self._start - len(self._chunks[0]) >= _KEPT_BYTES:
            self._start += len(self._chunks.popleft())
        if self._end - self._told >= _STEP_BYTES or self._end == self._stop:
            self._told = self._end
            self._tell()

    def reach(self, size: int) -> int:
        """How much of the content is here when the file has its first `size` bytes."""
        return max(size, self._told) if self._start <= size else size

    def after(self, position: int) -> memoryview:
        """Some of the bytes from there on; none when they are not here."""
        start = self._start
        if start <= position < self._told:
            for chunk in self._chunks:
                if position < start + len(chunk):
                    return memoryview(chunk)[position - start :]
                start += len(chunk)
        return memoryview(b"")


class Passages:
    """What passes through this node now, and who waits for it."""

    def __init__(self) -> None:
        self._current: dict[Digest, Passage] = {}
        self._waiting: defaultdict[Digest, set[Changes]] = defaultdict(set)

    @contextmanager
    def passing(self, digest: Digest, span: Span) -> Iterator[Passage]:
        """A relay of this span; of several of the same content the latest is what followers see."""
        passage = self._current[digest] = Passage(span, partial(self._tell, digest))
        try:
            yield passage
        finally:
            if self._current.get(digest) is passage:
                del self._current[digest]

    @contextmanager
    def watching(self, digest: Digest, changes: Changes) -> Iterator[None]:
        """Tell of what comes until the block ends."""
        self._waiting[digest].add(changes)
        try:
            yield
        finally:
            self._waiting[digest].discard(changes)
            if not self._waiting[digest]:
                del self._waiting[digest]

    def contents(self) -> Collection[Digest]:
        """Of what there is a relay now."""
        return self._current.keys()

    def of(self, digest: Digest) -> Passage | None:
        return self._current.get(digest)

    def _tell(self, digest: Digest) -> None:
        for changes in self._waiting.get(digest, ()):
            changes.tell()


class PassingBody:
    """A body whose bytes others may have while they are being sent."""

    def __init__(self, body: Body, digest: Digest, span: Span, passages: Passages) -> None:
        self._body = body
        self._digest = digest
        self._span = span
        self._passages = passages

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        with self._passages.passing(self._digest, self._span) as passage:
            await self._body.send_to(_PassingSink(sink, passage, start=self._span.start))

    async def aclose(self) -> None:
        await self._body.aclose()


class _PassingSink:
    """A sink that shows what is written to it.

    It has no descriptor even where the connection has one: what the kernel moves past us nobody could be shown. That
    costs 0.2 s of processor time for each GiB, and saves every node below some 80 ms of a link of 100 Mbit/s.
    """

    def __init__(self, sink: Sink, passage: Passage, *, start: int) -> None:
        self._sink = sink
        self._passage = passage
        self._offset = start - sink.sent

    @property
    def sent(self) -> int:
        return self._sink.sent

    @sent.setter
    def sent(self, count: int) -> None:
        self._sink.sent = count

    @property
    def fd(self) -> int | None:
        return None

    async def write(self, data: bytes | memoryview) -> None:
        # A source that was left in the middle of a write had given more than was sent; the next one begins before that.
        if fresh := memoryview(data)[self._passage.end - self._offset - self._sink.sent :]:
            self._passage.put(fresh)
        await self._sink.write(data)

    async def wait_writable(self) -> None:
        await self._sink.wait_writable()
