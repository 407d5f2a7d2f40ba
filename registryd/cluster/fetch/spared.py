"""Holders that give to many already, and are left to these for a while by a node that has a source at work.

An index node names the few holders of a moment to many. Should all nodes whose source begins late turn to these, each
would get a small share of their links to the end: by simulation of 500 nodes with four layers, whose starts quicken
over 10 s, three times as long. A source that says that it is at work may still never begin, so a holder is asked again
and again, and taken after SPARED_SECONDS whatever it gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.recent import Recent
from registryd.cluster.index_client.companions import LARGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.members.offer import Offer
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# A source that is at work has begun by then: as long as one waits for a source when no holder is named.
SPARED_SECONDS: Final = 5.0
# So long after the first was spared, it is another pull.
_FORGOTTEN_SECONDS: Final = 60.0
# Bodies that a holder sends: so many give each a quarter of its link.
_MOST_UPLOADS: Final = 4
# A node pulls a few layers at a time.
_REMEMBERED: Final = 1000


class SparedHolders:
    """Remembers, by digest, which holders were spared, and since when."""

    def __init__(self, seconds: float = SPARED_SECONDS) -> None:
        """A digest's holders are spared for so many seconds, from the first one on."""
        self._seconds = seconds
        self._spared: Recent[Digest, tuple[float, dict[Address, None]]] = Recent(_REMEMBERED)

    def spare(self, offer: Offer) -> bool:
        """Whether this offer is not to be taken now. Its member will be among those `of` its digest then."""
        content = offer.content
        if content.is_growing or content.size <= LARGE_BYTES or offer.uploads < _MOST_UPLOADS:
            return False
        if not self.of(content.digest):
            self._spared.drop(content.digest)
        since, holders = self._spared.get_or_put(content.digest, lambda: (clock.now(), {}))
        holders[offer.member.address] = None
        return clock.now() - since < self._seconds

    def of(self, digest: Digest) -> Sequence[Address]:
        """The holders of this content that were spared lately: index nodes name them once only."""
        since, holders = self._spared.get(digest) or (0.0, {})
        return tuple(holders) if clock.now() - since < _FORGOTTEN_SECONDS else ()
