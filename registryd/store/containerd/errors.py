"""gRPC's failures in the words of content, at the boundary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.content.writer import StoreFull

if TYPE_CHECKING:
    from grpc.aio import AioRpcError


class AlreadyExists(StoreUnavailable):
    """containerd has this content, or an image of this name; those who write are told so."""


_MEANINGS: Final[dict[StatusCode, type[ContentUnavailable]]] = {
    StatusCode.NOT_FOUND: ContentNotFound,
    StatusCode.ALREADY_EXISTS: AlreadyExists,
}
# containerd has no code of its own for it; these are strerror's words for ENOSPC and EDQUOT.
_DISK_IS_FULL: Final = re.compile("no space left on device|disk quota exceeded")
# Foreign text in our messages is kept short.
_MAX_DETAILS: Final = 200


def translated(error: AioRpcError) -> ContentUnavailable:
    """What a failed call means to those who look for content or bring it."""
    details = error.details() or ""
    kind = _MEANINGS.get(error.code(), StoreUnavailable)
    if _DISK_IS_FULL.search(details):
        kind = StoreFull
    return kind(f"containerd: {error.code().name}: {details[:_MAX_DETAILS]}")
