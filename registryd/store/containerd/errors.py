"""gRPC's failures in the words of content, at the boundary."""

from __future__ import annotations

import re
from asyncio import CancelledError, current_task
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from grpc import StatusCode
from grpc.aio import AioRpcError, UsageError

from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.content.writer import StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator


class AlreadyExists(StoreUnavailable):
    """containerd already has this content, or an image of this name; raised to writers."""


_MEANINGS: Final[dict[StatusCode, type[ContentUnavailable]]] = {
    StatusCode.NOT_FOUND: ContentNotFound,
    StatusCode.ALREADY_EXISTS: AlreadyExists,
}
# containerd has no code of its own for it; these are strerror's words for ENOSPC and EDQUOT.
_DISK_IS_FULL: Final = re.compile("no space left on device|disk quota exceeded")
# gRPC 1.85's text for a Unix socket that it cannot connect to; it does not say why.
_NOT_CONNECTED: Final = "failed to connect to all addresses"
# Foreign text in our messages is kept short.
_MAX_DETAILS: Final = 200


@contextmanager
def containerd_errors() -> Iterator[None]:
    """A context around every call: translates its failure for callers that look for content or bring it."""
    try:
        yield
    except AioRpcError as error:
        raise _translated(error) from error
    except UsageError as error:
        raise StoreUnavailable("the connection to containerd is closed") from error
    except CancelledError as error:
        # gRPC raises it also for calls that were under way when the connection was closed.
        if (task := current_task()) and task.cancelling():
            raise
        raise StoreUnavailable("the connection to containerd was closed") from error


def _translated(error: AioRpcError) -> ContentUnavailable:
    details = error.details() or ""
    if error.code() is StatusCode.UNAVAILABLE and _NOT_CONNECTED in details:
        return StoreUnavailable("containerd cannot be reached at its socket: does it run?")
    kind = _MEANINGS.get(error.code(), StoreUnavailable)
    if _DISK_IS_FULL.search(details):
        kind = StoreFull
    return kind(f"containerd: {error.code().name}: {details[:_MAX_DETAILS]}")
