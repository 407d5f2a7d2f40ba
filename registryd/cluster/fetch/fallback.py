"""The members to ask when an index node names no source: all, or those of which it does not know everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.members.member import Member
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# Twice a kubelet's longest pause between two attempts to pull.
_DOUBT_SECONDS: Final = 600.0
# Some 500 images that no node of the cluster had.
_REMEMBERED: Final = 5_000


class FallbackMembers:
    """The members that are left in one search."""

    def __init__(self) -> None:
        self._only: Collection[Address] | None = None
        self._replaces_source = False

    def learn(self, verdict: ClaimReply | None, *, has_lost_source: bool) -> None:
        """This is what the index nodes say to this node, which may have lost a source of the content before."""
        self._only = verdict.unheard if verdict is not None and verdict.view else None
        self._replaces_source = has_lost_source and verdict is not None and not verdict.sources

    @property
    def only(self) -> Collection[Address] | None:
        """The members that may have it; None: any."""
        return self._only

    def may_wait_here(self, address: Address) -> bool:
        """Whether this member, if it is still receiving the content, may wait for this node.

        Index nodes have told this node to fetch it in place of the source that it lost, and may have named this node to
        the member, unless they do not know that one.
        """
        return self._replaces_source and address not in (self._only or ())


class Doubts:
    """The digests for which an index node's answer "no node has it" is not enough.

    An index node's knowledge can be wrong for a moment. So the agent believes this answer once: then an origin gives
    the content, and containerd does not ask again. Where that does not help, the pull comes back, and the agent asks
    all members.
    """

    def __init__(self, is_vital: Callable[[Digest], bool] = lambda _: False) -> None:
        """`is_vital` says for which content the agent asks all members in any case."""
        self._is_vital = is_vital
        self._believed: ExpiringSet[Digest] = ExpiringSet(lifetime=_DOUBT_SECONDS, capacity=_REMEMBERED)

    def narrow(self, members: list[Member], digest: Digest, remaining: FallbackMembers) -> list[Member]:
        """The members to ask."""
        if remaining.only is None or digest in self._believed or self._is_vital(digest):
            return members
        self._believed.add(digest)
        return [member for member in members if member.address in remaining.only]
