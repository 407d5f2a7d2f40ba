"""How much of what containerd is receiving is certain to be what its source gave.

With parallel layer fetch (`concurrent_layer_fetch_buffer`, containerd 2.1 and later) a layer comes from the origin in
chunks. When one of the later chunks is answered with all of the content, or with less than was asked for, containerd
goes on behind it all the same: its file then holds wrong bytes, which containerd notices when it hashes the whole, and
other nodes that had followed the file would fail as well. So of such a layer only those bytes are certain that came
from this agent, which gives each range as it was asked for. containerd asks this agent before any other host, and says
where it goes on.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.oci.digest import Digest

_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.", re.ASCII)
_IN_CHUNKS_SINCE: Final = (2, 1)
# Layers whose requests are remembered: five hundred images. A forgotten layer counts as one that was never asked for.
_REMEMBERED: Final = 10_000
# More than any content has.
ALL_BYTES: Final = 1 << 63


class Sent(Protocol):
    """The part of a response that counts its bytes."""

    @property
    def sent(self) -> int:
        """Bytes that the kernel has taken for the receiver."""


class SureBytes:
    """Follows containerd's requests, and what it is given."""

    def __init__(self) -> None:
        self.may_come_in_chunks = False
        """Whether what writes the files can fetch in parallel: containerd 2.1 and later."""
        self._layers: Recent[Digest, _Layer] = Recent(_REMEMBERED)
        self._is_told = False
        self._is_in_chunks = False

    def learn_version(self, version: str) -> None:
        """Note what containerd says of itself ("v2.4.2", "1.6.20~ds1")."""
        match = _VERSION.match(version)
        self.may_come_in_chunks = match is None or (int(match[1]), int(match[2])) >= _IN_CHUNKS_SINCE

    def asked(self, digest: Digest | None, start: int, *, in_chunks: bool) -> None:
        """Note that containerd asks for content from `start` on; None: for content whose digest it does not know.

        `in_chunks`: the request says `bytes=0-`, so containerd fetches from other hosts in chunks. A request that
        continues in the middle does not show this. It counts as one in chunks if any request of this node was one.
        """
        if start == 0:
            self._is_told = True
            self._is_in_chunks |= in_chunks
        if digest is None:
            return
        layer = self._layers.get_or_put(digest, lambda: _Layer(self._unasked if start else ALL_BYTES))
        if start == 0:
            layer.sure = 0 if in_chunks else ALL_BYTES
        elif self._is_in_chunks or not self._is_told:
            layer.sure = min(layer.reach(), start)
        layer.cut(start)

    @contextmanager
    def giving(self, digest: Digest, start: int) -> Iterator[GivenRange]:
        """While containerd is given content from `start` on."""
        given = GivenRange(start)
        layer = self._layers.get(digest)
        if layer is None:
            yield given
            return
        layer.given.append(given)
        try:
            yield given
        finally:
            if given in layer.given:
                layer.sure = layer.reach()
                layer.given.remove(given)

    def of(self, digest: Digest) -> int:
        """How many bytes from the beginning are right; ALL_BYTES when all bytes that come are."""
        if not self.may_come_in_chunks:
            return ALL_BYTES
        layer = self._layers.get(digest)
        return self._unasked if layer is None else layer.reach()

    @property
    def _unasked(self) -> int:
        """The value for content for which containerd has not asked this agent since the agent began."""
        return ALL_BYTES if self._is_told and not self._is_in_chunks else 0


@dataclass(eq=False, slots=True)
class GivenRange:
    """The bytes that one request of containerd gets, up to `stop` at most: later bytes are another request's."""

    start: int
    stop: int = ALL_BYTES
    sink: Sent | None = None

    def follow(self, sink: Sent) -> None:
        """Note that the counter of the bytes has been opened."""
        self.sink = sink

    @property
    def reach(self) -> int:
        return min(self.start + (self.sink.sent if self.sink else 0), self.stop)


@dataclass(eq=False, slots=True)
class _Layer:
    sure: int
    given: list[GivenRange] = field(default_factory=list)

    def reach(self) -> int:
        """How far the bytes that are sure go without a gap."""
        sure = self.sure
        for given in sorted(self.given, key=lambda given: given.start):
            if given.start <= sure:
                sure = max(sure, given.reach)
        return sure

    def cut(self, start: int) -> None:
        """A request goes on from there: what was given beyond is not what is written."""
        self.given = [given for given in self.given if given.start < start]
        for given in self.given:
            given.stop = min(given.stop, start)
