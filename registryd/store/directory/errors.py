"""The file system's errors in the words of `registryd.content`."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.content.writer import StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator

# A blob that is a link, or lies below one, is not a blob: ELOOP is what O_NOFOLLOW says, ENXIO a socket's answer.
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Translate what goes wrong when `what` is looked for."""
    try:
        yield
    except OSError as error:
        raise read_error(what, error) from error


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Translate what goes wrong when `what` is written."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _NO_ROOM else StoreUnavailable
        raise kind(f"{what} cannot be written: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The reason, without the path, which the caller knows better."""
    return error.strerror or str(error)


def read_error(what: object, error: OSError) -> ContentUnavailable:
    """The error for `what`, which could not be read."""
    if error.errno in _NOT_THERE:
        return ContentNotFound(f"{what} is not in the store")
    return StoreUnavailable(f"{what} cannot be read: {reason(error)}")
