"""Where bytes of content came from, and where they went. Trials are left out: no client needs their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.content.pull_log import PullLog
from registryd.observability.metrics import Nearness, PulledFrom, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from registryd.notation import Address
    from registryd.observability.metrics import Metrics
    from registryd.oci.digest import Digest

# Content that containerd asked for and has not stored yet: some dozens of images at once.
_MOST_UNSETTLED: Final = 4_000


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The bytes of a content that containerd got from this agent, for a repository of this registry."""

    count: int
    registry: str


class Ledger:
    """Of one agent."""

    def __init__(
        self, metrics: Metrics, *, is_trial: Callable[[Digest], bool] = lambda _: False, pulls: PullLog | None = None
    ) -> None:
        self._metrics = metrics
        self.pulls = PullLog() if pulls is None else pulls
        self.is_trial = is_trial
        self._unsettled: dict[Digest, HandedOver] = {}

    def handed_over(self, digest: Digest, count: int, *, registry: str, source: Source) -> None:
        """Note that so many bytes went to containerd."""
        if not count or self.is_trial(digest):
            return
        self._metrics.sent(count, source=source)
        self._metrics.pulled(count, source=PulledFrom(source.value), registry=registry)
        before = self._unsettled.pop(digest, HandedOver(0, registry))
        self._unsettled[digest] = HandedOver(before.count + count, registry)
        if len(self._unsettled) > _MOST_UNSETTLED:
            del self._unsettled[next(iter(self._unsettled))]

    def sent_to_peer(self, digest: Digest, count: int, *, nearness: Nearness = Nearness.UNKNOWN) -> None:
        """Note that so many bytes went to a peer."""
        if not self.is_trial(digest):
            self._metrics.sent_to_peer(count, nearness=nearness)

    def received_from_peer(self, digest: Digest, count: int, source: Address) -> None:
        """Note that so many bytes came from a peer, whether containerd wanted them by then or not."""
        if not self.is_trial(digest):
            self._metrics.received_from_peer(count)
            self.pulls.received(digest, count, source.host)

    def appeared(self, digest: Digest, size: int, *, registry: str) -> None:
        """Note that containerd has the content now; bytes that are not from this agent it got elsewhere."""
        known = self._unsettled.pop(digest, None)
        missing = size - (known.count if known else 0)
        if missing <= 0:
            self.pulls.appeared(digest, 0)
        elif not self.is_trial(digest):
            registry = known.registry if known else registry
            self.pulls.appeared(digest, missing)
            self._metrics.elsewhere(missing)
            self._metrics.pulled(missing, source=PulledFrom.ELSEWHERE, registry=registry)

    def settle(self, held: Collection[Digest]) -> None:
        """Containerd has these for longer: what it was given of them again says nothing of how they came."""
        for digest in [digest for digest in self._unsettled if digest in held]:
            del self._unsettled[digest]
