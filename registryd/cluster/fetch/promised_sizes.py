"""The size that content must have, as manifests say that refer to it, and as containerd says that asks for it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from registryd.cluster.errors import ContentCorrupt
from registryd.content.growing import arriving_or_none

if TYPE_CHECKING:
    from registryd.content.growing import Arrivals
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest

# Of what the latest manifests refer to: a pull asks for them right after its manifest. Two thousand images.
_REMEMBERED: Final = 20_000


class PromisedSizes:
    """Learns sizes from manifests whose digest has been verified; a size is only as good as the manifest's author.

    A peer that says another size is mistaken or lying. A node that believed the peer would fail a pull, because
    containerd counts the bytes.
    """

    def __init__(self, own: Arrivals | None) -> None:
        """`own`: what this node is receiving. containerd notes the size before it asks anybody for the bytes."""
        self._own = own
        self._sizes: OrderedDict[Digest, int | None] = OrderedDict()

    def learn(self, manifest: Manifest) -> None:
        """Take note of the sizes; where two manifests disagree, neither is believed."""
        for child in manifest.children:
            known = self._sizes.pop(child.digest, child.size)
            self._sizes[child.digest] = child.size if known == child.size else None
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)

    async def require(self, content: Content) -> None:
        """Raise ContentCorrupt for content that is said to have another size than it must have."""
        for promised in (self._sizes.get(content.digest), await self._wanted_here(content.digest)):
            if promised is not None and promised != content.size:
                raise ContentCorrupt(f"{content.digest} has {promised} bytes and was offered with {content.size}")

    async def _wanted_here(self, digest: Digest) -> int | None:
        content = None if self._own is None else await arriving_or_none(self._own, digest)
        return None if content is None else content.size
