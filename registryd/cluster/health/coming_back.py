"""Requests that were refused, and come again: whoever asks for the same bytes once more has not got them elsewhere.

After a 404, containerd asks its next host, and goes on there. So a request that begins where an earlier one did, or
before, says that no other host had the content. Members that failed are better than nobody then: they may be all that
an air-gapped node has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.recent import Recent
from registryd.transfer.monitoring.thresholds import AVOID_SECONDS

if TYPE_CHECKING:
    from registryd.oci.digest import Digest

# Contents. Layers of some 40 images at a time.
_REMEMBERED: Final = 1_000
# A client that fetches content in chunks asks for several at the same time, in their order, and each is refused.
_AT_ONCE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    start: int
    at: float


class Refusals:
    """The latest refusal of each content, for as long as a member that failed is not asked."""

    def __init__(self) -> None:
        self._latest: Recent[Digest, _Refusal] = Recent(_REMEMBERED)

    def note(self, digest: Digest, start: int) -> None:
        """A request for the content from this byte on was refused.

        A client that asks again within the second is refused again: its first refusal counts.
        """
        before = self._latest.get(digest)
        if before is None or before.start != start or clock.now() - before.at >= AVOID_SECONDS:
            self._latest.put(digest, _Refusal(start, clock.now()))

    def take(self, digest: Digest, start: int) -> bool:
        """Whether a request for it from this byte on was refused, and not just now; each refusal counts once.

        A pull that begins anew may break off several times before it gets to that byte.
        """
        refusal = self._latest.get(digest)
        if refusal is None or start > refusal.start or clock.now() - refusal.at < _AT_ONCE_SECONDS:
            return False
        self._latest.drop(digest)
        return clock.now() - refusal.at < AVOID_SECONDS
