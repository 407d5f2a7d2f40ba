"""Content that this node is still receiving, and the contract of reading it while it arrives.

Apart from `ContentSource` on purpose: when containerd asks us for a layer, its own ingest of that layer has begun
already, and a lookup that took it for a source would wait for itself. So the local lookup knows whole content only, and
what grows is for peers (`registryd.content.sharing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import Content, ContentNotFound

if TYPE_CHECKING:
    from registryd.content.source import OpenContent, RangeOf
    from registryd.oci.digest import Digest


class NotArrived(ContentNotFound):
    """The content is on its way here, but not yet the byte that was asked for."""

    def __init__(self, reason: str, *, received: int = 0) -> None:
        """`received`: the bytes that have come to who is getting it, as far as it says."""
        super().__init__(reason)
        self.received = received


@dataclass(frozen=True, slots=True)
class GrowingContent(Content):
    """Content of which the first `available` bytes are here; `size` is what it will have in the end.

    0 available: it has been asked for, and nothing has come yet. All of them: it is whole but not verified yet. The
    bytes that are available are believed to be right; who reads them verifies, or leaves it to containerd. The
    `withheld` ones after them have come, and may be wrong (`registryd.transfer.sure`): they are nobody's until all is
    whole and verified.
    """

    available: int
    withheld: int = 0

    @property
    def received(self) -> int:
        """How many bytes this node has got, for whatever they are."""
        return self.available + self.withheld


class GrowingSource(Protocol):
    """A store that can give content while it is being received.

    Nothing is kept or watched for content that nobody reads, and there is nothing to prepare: containerd begins an
    ingest before it asks any registry for the bytes, and its place follows from the digest. Content whose size is not
    known in advance is not told of: nobody could be promised a length.
    """

    async def growing(self, digest: Digest) -> GrowingContent:
        """What is here of content that is being received now; costs one look at a file.

        Raises ContentNotFound for content that is not being received (it may be whole: ask ContentSource),
        StoreUnavailable when that cannot be seen here.
        """

    async def begun(self, digest: Digest) -> GrowingContent:
        """As `growing`, also of content of which nothing has come for long: its receiver may not have its turn yet."""

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Open the bytes that `wanted` names: the body sends what is here, and the rest as it arrives.

        A reader keeps its place while the content becomes whole. When it is given up, or nothing arrives for too long,
        the body raises SourceBroken within a moment. Raises as `growing` does, RangeInvalid, and NotArrived unless the
        first of the bytes is here: whoever reads is behind its source, so nodes never wait for each other in a circle.
        """

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        """Return when more than `beyond` bytes are here; how long to wait is the caller's to say.

        Raises as `growing` does, also when the content is given up meanwhile.
        """
