"""The contracts between clients of content and sources of content."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.content.sought import Sought, Standing
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import TaggedName
    from registryd.transfer.body import Body


class ContentUnavailable(Exception):
    """This source cannot give the content now; the next one may be asked. The message is the reason."""


class ContentNotFound(ContentUnavailable):
    """The source was asked properly and does not have it."""


class NotForName(ContentNotFound):
    """The source has the content, but not for the wanted name. Another source may have it for that name."""


class StoreUnavailable(ContentUnavailable):
    """The source cannot say: containerd does not answer, a disk fails."""


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of content as a source knows it: its size in bytes and, if known, its media type.

    The media type is a manifest's own, or comes from a manifest that refers to the content. It is None when no manifest
    at the source refers to the content. A source never guesses it from the bytes of a blob.

    `standing`: the relation of the content to the wanted repository; None when the source was not told the repository,
    or does not say.
    """

    digest: Digest
    size: int
    media_type: str | None
    standing: Standing | None = field(default=None, compare=False, kw_only=True)

    is_growing: ClassVar[bool] = False
    """Whether the source is still receiving the content (`registryd.content.growing`)."""

    @property
    def available(self) -> int:
        """The number of bytes from the beginning that the source can give: all."""
        return self.size

    @property
    def received(self) -> int:
        """The number of bytes that have come to the source, whether or not it may give them yet: all."""
        return self.size

    @property
    def is_held_up(self) -> bool:
        """Whether it is another node's fault if nothing more comes to the source: nothing has to come."""
        return False


@dataclass(frozen=True, slots=True)
class OpenContent:
    """Content with a span of its bytes, ready to be sent. The caller that gets it closes `body`."""

    content: Content
    span: Span
    body: Body


class ContentSource(Protocol):
    """This node's own content, for itself: what of it others are given is for `EntitledSource` to say."""

    async def find(self, digest: Digest) -> Content:
        """Tell whether the content is here. Raises ContentUnavailable."""

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Open the bytes that `wanted` names. Raises ContentUnavailable, or RangeInvalid for content that is here.

        When it returns, the source has shown that it can give the first byte.
        """


class EntitledSource(Protocol):
    """Something that may have content and gives it for names: this node, the cluster. Raises as ContentSource does."""

    async def find(self, sought: Sought) -> Content:
        """Tell whether the content is here for that name. Raises NotForName besides."""

    async def open(self, sought: Sought, wanted: RangeOf) -> OpenContent:
        """Open the bytes that `wanted` names. Raises NotForName besides."""


class RangeOf(Protocol):
    """Chooses a span once the size is known; RangeInvalid when there is none."""

    def __call__(self, size: int, /) -> Span: ...


@dataclass(frozen=True, slots=True)
class NamedContent:
    """The meaning of a tag at a source, and when the source learnt it (seconds since the epoch)."""

    target: Descriptor
    seen_at: float


class NameSource(Protocol):
    """Something that may know which manifest a tag means."""

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        """All known meanings of the name, in no order; empty when none is known. Raises ContentUnavailable."""
