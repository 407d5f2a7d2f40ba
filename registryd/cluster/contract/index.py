"""What nodes and index nodes say to each other, as values; `cluster.rpc.index_codec` reads and writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.contract.node import NodeId
    from registryd.notation import Address
    from registryd.oci.digest import Digest

_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]{0,63}", re.ASCII)


# What an asker can have tried within its fetch_wait, with three named at a time.
MAX_FAILED: Final = 16
# 13 KB of digests, which with all else fits into rpc.limits.MAX_REQUEST_BYTES.
MAX_ANNOUNCED: Final = 400
# So many can be asked one by one; of more, everyone may be asked as well.
MAX_UNHEARD: Final = 8


@dataclass(frozen=True, slots=True)
class NodeLocation:
    """Where a node is: the address that its peers know it by, and its zone, empty when that is not known.

    Raises ValueError for a zone that is none.
    """

    address: Address
    zone: str = ""

    def __post_init__(self) -> None:
        if not _ZONE.fullmatch(self.zone):
            raise ValueError(f"{self.zone[:100]!r} is not a zone")


@dataclass(frozen=True, slots=True)
class Claim:
    """A node wants a digest, of `size` bytes if it knows; `failed` were named to it before and did not help.

    `is_question`: it only wants to know who has it, and does not count as getting it. `below`: below whom it would
    best be, whoever that is. `places`: to how many others it could pass it on as quickly as it gets it. `slow` were
    named to it and hold it up. A question may ask who ought to get it as quickly as the one `beside` which they are;
    of one that gets it from several at once, `places` is how many are to be named.

    `is_ahead`: the claimant's containerd has not asked for it yet. `is_pressed`: the claimant is to be sent to nobody,
    because a request that waits would keep it from fetching what it was told to. `rank`: how many were before it in
    the line of those that claimed the manifest. `unfit` do not give it for the name that it is wanted for.

    `is_slow`: the claimant is known to be slower than others, and better nobody's source.
    """

    digest: Digest
    claimant: NodeLocation
    size: int | None = None
    failed: tuple[Address, ...] = ()
    is_question: bool = False
    below: Address | None = None
    places: int | None = None
    slow: tuple[Address, ...] = ()
    beside: Address | None = None
    is_ahead: bool = False
    is_pressed: bool = False
    rank: int | None = None
    unfit: tuple[Address, ...] = ()
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """Where to get it, the best first; from the origin when there is nobody.

    `is_new`: who says so has not been there for long, and others may know more. `before`: who claimed it just before.
    `is_below_missing`: the node that the claim named as `below` was waited for in vain.

    `view`: when no sources are named, the name of the view of which nobody has it, as far as all have told; `unheard`
    are those that have not. 0: others may have it. `is_whole`: all sources are known to have all of it. `rank`: how
    many had claimed it before, None for an index node of an older version.
    """

    sources: tuple[Address, ...] = ()
    is_new: bool = False
    before: Address | None = None
    is_below_missing: bool = False
    view: int = 0
    unheard: tuple[Address, ...] = ()
    is_whole: bool = False
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node has from now on, and what no longer. `is_all`: and nothing else. `arriving`: what it is getting.

    `process` is the holder's, `view` the name of its view. `complete_at`: the process that knows all that it is to know
    with this, if it is the one that is told.
    """

    holder: NodeLocation
    held: Sequence[Digest] = ()
    dropped: Sequence[Digest] = ()
    is_all: bool = False
    arriving: Sequence[Digest] = ()
    process: NodeId | None = None
    view: int = 0
    complete_at: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """An announcement was taken, by this process."""

    by: NodeId
