"""The size that content must have, as manifests say that refer to it, and as containerd says that asks for it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.errors import ContentCorrupt
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from registryd.content.growing import GrowingContent
    from registryd.content.source import Content
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest

# Of what the latest manifests refer to: a pull asks for them right after its manifest. Two thousand images.
_REMEMBERED: Final = 20_000


class Receiving(Protocol):
    """The content that this node is receiving itself (`registryd.content.sharing.Receiving` knows)."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        """The content that has begun to arrive here, and is not whole. Raises ContentUnavailable."""


class PromisedSizes:
    """Learns sizes from manifests whose digest has been verified; a size is only as good as the manifest's author.

    A peer that says another size is mistaken or lying. A node that believed the peer would fail a pull, because
    containerd counts the bytes.
    """

    def __init__(self, own: Receiving | None) -> None:
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
        if self._own is None:
            return None
        try:
            return (await self._own.arriving(digest)).size
        except ContentUnavailable:
            return None
