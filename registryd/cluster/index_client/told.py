"""The content of this node that an index node has acknowledged, and the content that it has still to be told."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.cluster.contract.index import MAX_ANNOUNCED
from registryd.cluster.index.desk import WAVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from registryd.cluster.contract.node import NodeId
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The state that an index node is to know.

    `view` is the name of the view in which this state is complete, 0 where no node asks; `is_complete`: whether this
    node can promise completeness.
    """

    held: AbstractSet[Digest]
    arriving: AbstractSet[Digest] = frozenset()
    view: int = 0
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of it, as much as an announcement holds; the last one may be told to make it complete."""

    held: Sequence[Digest] = ()
    arriving: Sequence[Digest] = ()
    dropped: Sequence[Digest] = ()
    is_last: bool = False


class AnnouncedState:
    """The state that one index node has acknowledged."""

    def __init__(self) -> None:
        self.by: NodeId | None = None
        """The process that has."""
        self.due_at = 0.0
        """When it is to be told again, whatever happens."""
        self._held: set[Digest] = set()
        self._arriving: set[Digest] = set()
        self._statement = (0, False)
        self._renew_at = 0.0

    def missing(self, wanted: DesiredState) -> Iterator[Batch]:
        """The content that the index node does not know yet, a batch at a time; empty when it knows everything."""
        held = list(wanted.held - self._held)
        arriving = list(wanted.arriving - self._arriving)
        dropped = list((self._held | self._arriving) - wanted.held - wanted.arriving)
        if not (held or arriving or dropped) and self._statement != (wanted.view, wanted.is_complete):
            yield Batch(is_last=True)
        while held or arriving or dropped:
            now_held, held = held[:MAX_ANNOUNCED], held[MAX_ANNOUNCED:]
            room = MAX_ANNOUNCED - len(now_held)
            now_arriving, arriving = arriving[:room], arriving[room:]
            room -= len(now_arriving)
            now_dropped, dropped = dropped[:room], dropped[room:]
            yield Batch(now_held, now_arriving, now_dropped, is_last=not (held or arriving or dropped))

    def expire(self) -> None:
        """Start anew when it is time: not for all nodes at the same time."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self._forget()
            self._renew_at = now + WAVE_SECONDS / 2 * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self.due_at = self._renew_at

    def put_off(self) -> None:
        """Wait for the next look: the index node does not answer, or has lost what it was told before."""
        self.due_at = asyncio.get_running_loop().time()

    def acknowledge(self, by: NodeId, batch: Batch, statement: tuple[int, bool]) -> None:
        """Note that this process took the batch; also the view's name, and whether it knows everything in it."""
        if by != self.by:
            self._forget()  # another process, which was told nothing before this
            self.by = by
            self.put_off()
        self._held.difference_update(batch.dropped, batch.arriving)
        self._arriving.difference_update(batch.dropped, batch.held)
        self._held.update(batch.held)
        self._arriving.update(batch.arriving)
        self._statement = statement

    def _forget(self) -> None:
        self._held.clear()
        self._arriving.clear()
        self._statement = (0, False)
