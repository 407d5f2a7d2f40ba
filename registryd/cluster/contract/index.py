"""The messages between nodes and index nodes, as values; `cluster.rpc.index_codec` reads and writes them."""

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


# The number of sources that a claimant can try within its fetch_wait, with three named at a time.
MAX_FAILED: Final = 16
# 13 KB of digests, which with all else fits into rpc.limits.MAX_REQUEST_BYTES.
MAX_ANNOUNCED: Final = 400
# A claimant asks so many members one by one. With more, it may as well ask all members.
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
    """A claim: the claimant wants the content of a digest, of `size` bytes if it knows the size.

    `failed`: sources that an index node named to the claimant and that did not help. `slow`: named sources that hold
    the claimant up. `unfit`: named sources that do not give the content for the wanted name.

    `below`: the node below which the claimant would best be. `places`: the number of nodes to which the claimant could
    pass the content on as quickly as it gets the content. `rank`: how many nodes claimed the manifest before.

    `is_question`: the claimant only asks for sources, and does not count as a node that gets the content. A question
    with `beside` asks for nodes that ought to get the content as quickly as that node; with a `stripe`, too, for the
    node that gives it to that node. In a question for several sources at once, `places` is the number of sources to
    name.

    `is_ahead`: the claimant's containerd has not asked for the content yet. `is_pressed`: the index node names no
    source to the claimant, because a waiting request would keep the claimant from fetching what it was told to fetch.
    `is_slow`: the claimant is known to be slower than others, and should be the source of no node.

    `takes_stripes`: the claimant can get the content in stripes. `stripe`: the claimant wants another source for this
    stripe, for which `failed` and `slow` were named; such a claim is about nothing else. `is_late`: the claimant has
    waited long for this stripe, and the `slow` source says that it waits itself; a `failed` one has had nothing for
    long, and is kept if it is a top. `places` with a `stripe`: the claimant has all others, and can give this one to so
    many; it had better get it from a node with few followers.
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
    takes_stripes: bool = False
    stripe: int | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """The sources of the content, the best first; without a source the claimant goes to the origin.

    `is_new`: the index node has not run for long, and others may know more. `before`: the node that claimed the content
    just before. `is_below_missing`: the index node waited in vain for the node that the claim named as `below`.

    `view`: if no sources are named, the name of the view in which no node has the content, as far as its members have
    announced everything; `unheard` are the members that have not. View 0: other nodes may have the content. `is_whole`:
    all sources are known to have the whole content. `rank`: how many nodes had claimed it before, None from an index
    node of an older version.

    `stripes`: the source of each stripe, if the content is to come in stripes; `sources` then has the node at the top.

    `idle`: one of the sources, where the first one is still getting the content. It has the whole content, and no node
    gets that from it, as far as the index node knows. It may be passing other content on.
    """

    sources: tuple[Address, ...] = ()
    is_new: bool = False
    before: Address | None = None
    is_below_missing: bool = False
    view: int = 0
    unheard: tuple[Address, ...] = ()
    is_whole: bool = False
    rank: int | None = None
    stripes: tuple[Address, ...] = ()
    idle: Address | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node has from now on, and no longer has. `is_all`: and nothing else. `arriving`: what it is getting.

    `process` is the holder's process, `view` the name of its view. `complete_at`: with this announcement, this process
    of an index node has been told everything about the holder. `gives_stripes`: the holder gives stripes of content.
    """

    holder: NodeLocation
    held: Sequence[Digest] = ()
    dropped: Sequence[Digest] = ()
    is_all: bool = False
    arriving: Sequence[Digest] = ()
    process: NodeId | None = None
    view: int = 0
    complete_at: NodeId | None = None
    gives_stripes: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """An announcement was taken, by this process."""

    by: NodeId
