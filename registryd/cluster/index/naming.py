"""The place of names on the ring of index nodes, and the keys by which holders withdraw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.cluster.index.ring import POINT_DIGITS
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from registryd.content.naming import Naming
    from registryd.oci.reference import TaggedName


def name_point(name: TaggedName) -> Digest:
    """The digest of the name, by which its index nodes are chosen."""
    return Digest.of(str(name).encode())


def naming_key(naming: Naming) -> Digest:
    """The key of a whole statement: another meaning has another key, and the same index nodes as the name."""
    target = naming.meaning.target
    said = f"{naming.name} {target.digest} {target.size} {target.media_type} {naming.meaning.seen_at!r}"
    point = name_point(naming.name).encoded[:POINT_DIGITS]
    return Digest("sha256", point + Digest.of(said.encode()).encoded[POINT_DIGITS:])
