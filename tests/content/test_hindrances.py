"""What held a pull up is told in words that name the source, and only when it was long enough to matter."""

from __future__ import annotations

from registryd.content.hindrances import Hindrances
from registryd.notation import Address
from registryd.oci.digest import Digest

ONE, TWO = (Digest.of(text) for text in (b"one", b"two"))
NEAR, FAR = Address("10.0.0.2", 3173), Address("10.0.0.3", 3173)


def test_nothing_is_told_of_what_went_well() -> None:
    hindrances = Hindrances()
    hindrances.waited(ONE, 0.4, NEAR)
    assert hindrances.told({ONE, TWO}) == []


def test_waits_for_one_content_add_up_and_those_side_by_side_do_not() -> None:
    hindrances = Hindrances()
    for _ in range(3):
        hindrances.waited(ONE, 1.5, NEAR)
    hindrances.waited(TWO, 2.0, NEAR)
    hindrances.waited(TWO, 1.2, FAR)
    assert hindrances.told({ONE, TWO}) == ["waited 4.5 s for what 10.0.0.2, 10.0.0.3 fetched"]
    assert hindrances.told({TWO}) == ["waited 2.0 s for what 10.0.0.2, 10.0.0.3 fetched"]


def test_sources_that_were_left_or_lost_are_named() -> None:
    hindrances = Hindrances()
    hindrances.left(ONE, NEAR)
    hindrances.lost(TWO, FAR)
    assert hindrances.told([ONE, TWO]) == ["left a slow source: 10.0.0.2", "lost a source: 10.0.0.3"]


def test_it_is_bounded() -> None:
    hindrances = Hindrances()
    digests = [Digest.of(str(number).encode()) for number in range(5000)]
    for digest in digests:
        hindrances.left(digest, NEAR)
    assert sum(bool(hindrances.told([digest])) for digest in digests) == 4000
