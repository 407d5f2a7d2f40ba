"""Announcements of names to index nodes, as values; `registryd.cluster.rpc.name_codec` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.content.naming import Naming
    from registryd.content.source import NamedContent
    from registryd.notation import Address
    from registryd.oci.digest import Digest


# Answers to Resolve, per peer: containerd knows one digest for a name, each namespace its own.
MAX_NAMED_TARGETS: Final = 16


@dataclass(frozen=True, slots=True)
class NameAnnouncement:
    """The meanings of names at a holder from now on, with the keys by which the holder withdraws old meanings.

    `is_all`: and no other meanings.
    """

    holder: Address
    held: Mapping[Digest, Naming]
    dropped: Sequence[Digest] = ()
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """A node's knowledge of a name. `is_settled`: the node is an index node of the name and has heard every member."""

    known: Sequence[NamedContent] = ()
    is_settled: bool = False
