"""Reasons why content came late: the modules that find and fetch content note them, and the log of pulls reads them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.notation import Address
    from registryd.oci.digest import Digest

# Contents, as many as those of which the sources are remembered.
_REMEMBERED: Final = 4_000
# Seconds from which a wait is worth telling: a search takes milliseconds.
LONG_WAIT: Final = 1.0
# Of names in a line.
_NAMED: Final = 3


@dataclass(slots=True)
class _Troubles:
    waited: Counter[str] = field(default_factory=Counter)
    """Milliseconds, by who was fetching it."""
    left: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


class Hindrances:
    """The hindrances of recent contents."""

    def __init__(self) -> None:
        self._known: Recent[Digest, _Troubles] = Recent(_REMEMBERED)

    def waited(self, digest: Digest, seconds: float, source: Address) -> None:
        """Note how long a request waited for a node that was getting the content itself."""
        self._of(digest).waited[source.host] += round(seconds * 1000)

    def left(self, digest: Digest, source: Address) -> None:
        """This source was left because others are quicker."""
        self._of(digest).left[source.host] += 1

    def lost(self, digest: Digest, source: Address) -> None:
        """This source broke off."""
        self._of(digest).lost[source.host] += 1

    def told(self, digests: Iterable[Digest]) -> list[str]:
        """The hindrances in words. Contents come side by side: the longest of the waits for one node counts."""
        found = [troubles for digest in digests if (troubles := self._known.get(digest))]
        waited: Counter[str] = Counter()
        left: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        for each in found:
            waited |= each.waited
            left += each.left
            lost += each.lost
        long = {host: milliseconds / 1000 for host, milliseconds in waited.items() if milliseconds >= LONG_WAIT * 1000}
        words = []
        if long:
            names = ", ".join(sorted(long, key=lambda host: -long[host])[:_NAMED])
            words.append(f"waited {max(long.values()):.1f} s for what {names} fetched")
        if left:
            words.append(f"left a slow source: {_names(left)}")
        if lost:
            words.append(f"lost a source: {_names(lost)}")
        return words

    def _of(self, digest: Digest) -> _Troubles:
        return self._known.get_or_put(digest, _Troubles)


def _names(hosts: Counter[str]) -> str:
    return ", ".join(host for host, _ in hosts.most_common(_NAMED))
