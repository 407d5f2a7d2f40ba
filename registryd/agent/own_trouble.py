"""Whether most members show the same trouble: then it is this node's, and operators need one statement on this node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from registryd.observability.metrics import PeerTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Nodes that disagree, and the smaller part is wrong. Any other trouble is one of the way between two nodes: where this
# node reaches one member, its own end of the way is good.
_DISAGREEMENTS: Final = frozenset(
    {PeerTrouble.OTHER_SECRET, PeerTrouble.CLOCK, PeerTrouble.NO_TLS, PeerTrouble.HUNG_UP, PeerTrouble.GARBLED}
)


def own_trouble(members: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The trouble as JSON; None: members are at fault, or nobody is.

    `members` are those of `/status`. Of members that this node has not asked nothing is known, and they do not count.
    """
    up = sum(member["state"] == "up" for member in members)
    aside = [member for member in members if member["state"] == "set aside"]
    for reason, count in Counter(member["reason"] for member in aside).most_common(1):
        is_own = count > up + 1 if reason in _DISAGREEMENTS else up == 0 and 2 * count > len(aside) > 1
        if is_own:
            since = min(member["since"] for member in aside if member["reason"] == reason)
            return {"reason": reason, "members": count, "of": up + len(aside), "since": since}
    return None
