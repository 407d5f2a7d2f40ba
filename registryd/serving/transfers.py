"""The bodies that are on their way now, and those of lately: what people look at, never what anything depends on."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.content.source import OpenContent

# A pull of a large image has some thirty bodies; what is older is in the metrics.
_REMEMBERED: Final = 100


class Sent(Protocol):
    """Something that counts what it was given; a sink is one."""

    @property
    def sent(self) -> int:
        """Bytes so far."""


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A body of `size` bytes. `name` is the content, `receiver` the client: containerd, or a peer's address."""

    name: str
    digest: str
    size: int
    source: str
    receiver: str
    began: float
    ended: float | None = None
    outcome: str = "running"
    sink: Sent | None = None
    sent: int = 0

    def follow(self, sink: Sent) -> None:
        """The receiver's end has been opened."""
        self.sink = sink

    @property
    def sent_bytes(self) -> int:
        return self.sink.sent if self.sink else self.sent


class Transfers:
    """All transfers of one agent. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._running: dict[int, Transfer] = {}
        self._recent: deque[Transfer] = deque(maxlen=_REMEMBERED)

    @contextmanager
    def transfer(self, opened: OpenContent, *, name: str, source: str, receiver: str) -> Iterator[Transfer]:
        """One body; the sender notes in the end how it went."""
        transfer = Transfer(
            name=name,
            digest=str(opened.content.digest),
            size=opened.span.length,
            source=source,
            receiver=receiver,
            began=time.time(),
        )
        self._running[id(transfer)] = transfer
        try:
            yield transfer
        finally:
            del self._running[id(transfer)]
            # Only numbers are remembered, no connection.
            transfer.sent, transfer.sink, transfer.ended = transfer.sent_bytes, None, time.time()
            if transfer.outcome == "running":
                # A receiver that closes when it has all, may be gone before its connection has been tidied up.
                transfer.outcome = "done" if transfer.sent == transfer.size else "cancelled"
            self._recent.append(transfer)

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> list[Transfer]:
        return list(self._running.values())

    def known(self) -> list[Transfer]:
        """The running transfers and the recent ones."""
        return [*self._running.values(), *self._recent]

    def recent(self) -> list[Transfer]:
        """The transfers that have ended, the latest first."""
        return list(reversed(self._recent))
