"""Which peers the agent does not ask for which content, because they failed before.

A peer that could not be greeted, and answers again, begins a new life: that it broke off before was the end of the last
one, or of the way to it. That its content was wrong still counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from registryd.aio.expiring import ExpiringSet
from registryd.transfer.monitoring.thresholds import (
    AVOID_SECONDS,
    BLAME_SECONDS,
    BUSY_SECONDS,
    ONE_OF_SEVERAL_SECONDS,
    STRIKES,
    SUSPECT_SECONDS,
    WRONG_RECEIVING,
    WRONG_WHOLE,
)

if TYPE_CHECKING:
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# A digest and a peer, perhaps with its life.
_Penalty = TypeVar("_Penalty", "tuple[Digest, Address]", "tuple[Digest, Address, int]")

# How many pairs of a peer and a digest are kept in mind.
_REMEMBERED: Final = 10_000


class PeerPenalties:
    """Pairs of a digest and a peer, and peers that are bad altogether; each is forgotten after a while."""

    def __init__(self) -> None:
        self._failed: ExpiringSet[tuple[Digest, Address, int]] = ExpiringSet(
            lifetime=AVOID_SECONDS, capacity=_REMEMBERED
        )
        self._suspect: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=SUSPECT_SECONDS, capacity=_REMEMBERED)
        self._one_of_several: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(
            lifetime=ONE_OF_SEVERAL_SECONDS, capacity=_REMEMBERED
        )
        self._accused: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=BLAME_SECONDS, capacity=_REMEMBERED)
        self._blamed: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=BLAME_SECONDS, capacity=_REMEMBERED)
        self._busy: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=BUSY_SECONDS, capacity=_REMEMBERED)
        self._cut_off: ExpiringSet[tuple[Digest, Address]] = ExpiringSet(lifetime=AVOID_SECONDS, capacity=_REMEMBERED)
        self._forgiven: ExpiringSet[Digest] = ExpiringSet(lifetime=AVOID_SECONDS, capacity=_REMEMBERED)
        self._wrong: dict[Address, ExpiringSet[tuple[Digest, bool]]] = {}
        self._strikes: dict[tuple[Address, int], ExpiringSet[Digest]] = {}

    def add(self, digest: Digest, peer: Address, *, life: int) -> None:
        """Note a failure: the peer broke off, stalled, or gave other bytes than those asked for, in this life of it."""
        self._failed.add((digest, peer, life))
        self._strikes = {living: strikes for living, strikes in self._strikes.items() if len(strikes)}
        strikes = self._strikes.setdefault((peer, life), ExpiringSet(lifetime=AVOID_SECONDS, capacity=STRIKES))
        strikes.add(digest)

    def forgives_cut(self, digest: Digest, peer: Address) -> bool:
        """Whether this is the first time for a while that the way to the peer was away while it gave this.

        A peer can drop what belongs to one connection, and a firewall forgets connections.
        """
        is_first = (digest, peer) not in self._cut_off
        self._cut_off.add((digest, peer))
        return is_first

    def forgive(self, digest: Digest) -> None:
        """Let those be asked for this digest again that broke off or were busy; if that did not help, all others, too.

        A full disk can look like wrong bytes, and a node that seems to give some may be the only one that has anything.
        """
        count = _forget(digest, self._failed) + _forget(digest, self._busy)
        if digest in self._forgiven or not count:
            self._wrong.clear()
            for pairs in (self._suspect, self._one_of_several, self._blamed):
                _forget(digest, pairs)
        self._forgiven.add(digest)

    def spare(self, digest: Digest, peer: Address) -> None:
        """Note that the peer, which is not at fault, was busy for as long as it was asked."""
        self._busy.add((digest, peer))

    def blame(self, digest: Digest, peer: Address, *, is_certain: bool = True, was_whole: bool = False) -> None:
        """Note wrong bytes: from this peer, or from one of several sources, of which this peer was one.

        `was_whole`: the peer had verified what it gave. Others may have given wrong bytes to a peer that was receiving.
        """
        pair = (digest, peer)
        if not is_certain:
            self._one_of_several.add(pair)
            return
        if pair in self._accused:
            self._blamed.add(pair)
        self._wrong = {liar: wrong for liar, wrong in self._wrong.items() if wrong}
        wrong = self._wrong.setdefault(peer, ExpiringSet(lifetime=SUSPECT_SECONDS, capacity=WRONG_RECEIVING))
        wrong.add((digest, was_whole))
        self._suspect.add(pair)
        self._accused.add(pair)

    def has(self, digest: Digest, peer: Address, *, life: int) -> bool:
        """Whether this peer is better not asked for this digest in this life of it."""
        pair = (digest, peer)
        reasons = (self._suspect, self._blamed, self._one_of_several, self._busy)
        has_failed = (digest, peer, life) in self._failed
        is_out = digest not in self._forgiven and self._is_out(peer, life)
        return has_failed or is_out or self._is_wrong(peer) or any(pair in pairs for pairs in reasons)

    def _is_out(self, peer: Address, life: int) -> bool:
        return len(self._strikes.get((peer, life), ())) >= STRIKES

    def _is_wrong(self, peer: Address) -> bool:
        wrong = list(self._wrong.get(peer, ()))
        return len(wrong) >= WRONG_RECEIVING or sum(was_whole for _, was_whole in wrong) >= WRONG_WHOLE


def _forget(digest: Digest, penalties: ExpiringSet[_Penalty]) -> int:
    """How many penalties there were for this digest."""
    found = [penalty for penalty in penalties if penalty[0] == digest]
    for penalty in found:
        penalties.discard(penalty)
    return len(found)
