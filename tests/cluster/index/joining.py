"""Nodes that join a wave, each by a number, and whom they follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.cluster.index.wave import Wave

DIGEST = Digest.of(b"")
MIB = 1 << 20


def address(number: int) -> Address:
    return Address("10.0.0.1", number)


def join(  # noqa: PLR0913 - what a claim consists of
    wave: Wave,
    number: int,
    *,
    size: int = 100 * MIB,
    failed: tuple[int, ...] = (),
    slow: tuple[int, ...] = (),
    unfit: tuple[int, ...] = (),
    below: int | None = None,
    zone: str = "",
    is_slow: bool = False,
    now: float = 0.0,
) -> list[int]:
    place = NodeLocation(address(number), zone)
    named, others = tuple(map(address, slow)), tuple(map(address, unfit))
    claim = Claim(DIGEST, place, size, tuple(map(address, failed)), slow=named, unfit=others, is_slow=is_slow)
    if below is not None:
        claim = replace(claim, below=address(below))
    return [source.port for source in wave.join(claim, now)]


def require_no_circle(follows: Mapping[int, int | None]) -> None:
    """Whoever is followed from anywhere, the way ends at a top and leads nowhere twice."""
    for start in follows:
        seen, at = set[int](), follows[start]
        while at is not None:
            assert at != start
            assert at not in seen
            seen.add(at)
            at = follows.get(at)
