"""What index nodes are told of names, as values; `registryd.cluster.rpc.name_codec` reads and writes them."""

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
