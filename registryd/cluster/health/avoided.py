"""Who is not asked for what, because it failed before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet

if TYPE_CHECKING:
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# How long a peer that failed for a digest is not asked for it, and how many such pairs are kept in mind. A layer is
# pulled within minutes; after that the peer may have got a good copy.
_AVOID_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000
# How long one whose content was wrong is not asked for it: the first time, until it has looked at its copy. It may have
# been innocent (several gave parts; an image was removed as soon as it was there), and may be the only one that has it.
# A kubelet tries after 10, 30, 70 and 150 s.
_SUSPECT_SECONDS: Final = 120.0
# The same where several gave parts of it, of which most are innocent: a kubelet's next try goes elsewhere, and the one
# after it gets the content from one at a time, so that it is known whose fault it was.
_ONE_OF_SEVERAL_SECONDS: Final = 15.0
# The second time: each new attempt with a bad one costs a failed pull.
_BLAME_SECONDS: Final = 1800.0
# A peer that failed for so many different digests within _AVOID_SECONDS is asked for nothing until the first of them is
# forgotten. It may still answer finds well, and each of its failures costs a pull a time-out.
_STRIKES: Final = 3


class Avoided:
    """Pairs of a digest and a peer, and peers that are bad altogether; each is forgotten after a while."""

    def __init__(self) -> None:
        self._failed: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=_AVOID_SECONDS, capacity=_REMEMBERED)
        self._suspect: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(
            lifetime=_SUSPECT_SECONDS, capacity=_REMEMBERED
        )
        self._one_of_several: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(
            lifetime=_ONE_OF_SEVERAL_SECONDS, capacity=_REMEMBERED
        )
        self._accused: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=_BLAME_SECONDS, capacity=_REMEMBERED)
        self._blamed: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=_BLAME_SECONDS, capacity=_REMEMBERED)
        self._strikes: dict[Address, ExpiringSet[Digest]] = {}

    def add(self, digest: Digest, peer: Address) -> None:
        """It broke off, stalled, or gave what was not asked for."""
        self._failed.add((digest, peer))
        self._strikes = {address: strikes for address, strikes in self._strikes.items() if len(strikes)}
        strikes = self._strikes.setdefault(peer, ExpiringSet(lifetime=_AVOID_SECONDS, capacity=_STRIKES))
        strikes.add(digest)

    def blame(self, digest: Digest, peer: Address, *, is_certain: bool = True) -> None:
        """What it gave was wrong, or what one of several gave that it is one of."""
        pair = (digest, peer)
        if not is_certain:
            self._one_of_several.add(pair)
            return
        if pair in self._accused:
            self._blamed.add(pair)
        self._suspect.add(pair)
        self._accused.add(pair)

    def has(self, digest: Digest, peer: Address) -> bool:
        """Whether this peer is better not asked for this digest."""
        pair = (digest, peer)
        reasons = (self._failed, self._suspect, self._blamed, self._one_of_several)
        return any(pair in pairs for pairs in reasons) or self._is_out(peer)

    def _is_out(self, peer: Address) -> bool:
        strikes = self._strikes.get(peer)
        return strikes is not None and len(strikes) >= _STRIKES
