"""Images of which the cluster keeps several copies, as values; `cluster/rpc/copy_codec.py` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.content.keepable import KeptImage


@dataclass(frozen=True, slots=True)
class CopyOffer:
    """An image that lacks copies, for a node that comes next. `size` in bytes; `seen_at`: since when it means this."""

    image: KeptImage
    size: int
    seen_at: float


class CopyAnswer(Enum):
    """A node's answer to the offer of a copy."""

    TAKEN = "taken"
    """The node keeps the image, or is about to."""
    OUTDATED = "outdated"
    """The name means something newer to it."""
    REFUSED = "refused"
    """No rule of its own names it, it has no room, it could not pull it a moment ago, or it has no containerd."""
