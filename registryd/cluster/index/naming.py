"""What index nodes are told of names, as values; `registryd.cluster.index.name_messages` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.cluster.index.ring import POINT_DIGITS
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.content.naming import Naming
    from registryd.content.source import NamedContent
    from registryd.notation import Address
    from registryd.oci.reference import TaggedName


@dataclass(frozen=True, slots=True)
class NameAnnouncement:
    """What names mean to a holder from now on, by the keys by which it drops what they no longer mean.

    `is_all`: and nothing else.
    """

    holder: Address
    held: Mapping[Digest, Naming]
    dropped: Sequence[Digest] = ()
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """What somebody knows of a name. `is_settled`: as an index node of it, who answers has been told all there is."""

    known: Sequence[NamedContent] = ()
    is_settled: bool = False


def name_point(name: TaggedName) -> Digest:
    """What stands for the name where index nodes are chosen."""
    return Digest.of(str(name).encode())


def naming_key(naming: Naming) -> Digest:
    """What stands for all that is said: another meaning has another key, and the same index nodes as the name."""
    target = naming.meaning.target
    said = f"{naming.name} {target.digest} {target.size} {target.media_type} {naming.meaning.seen_at!r}"
    point = name_point(naming.name).encoded[:POINT_DIGITS]
    return Digest("sha256", point + Digest.of(said.encode()).encoded[POINT_DIGITS:])
