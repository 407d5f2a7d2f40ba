"""Unexpected failures, which end only their own request or job: one log line for each."""

from __future__ import annotations

import logging
import traceback
from pathlib import PurePath

_log = logging.getLogger(__name__)


def note_unexpected(work: str, error: BaseException) -> None:
    """Log that a piece of work failed by a bug, or by an unforeseen input.

    The line names the place; the traceback is there when debugging. What the work was to find out stays unknown.
    """
    first = _first_of(error)
    wants_traceback = _log.isEnabledFor(logging.DEBUG)
    _log.error(
        "%s failed, and the agent goes on without it: %s: %s",
        work,
        type(first).__name__,
        first,
        extra={"at": _place_of(first)},
        exc_info=error if wants_traceback else None,
    )


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "registryd" in PurePath(frame.filename).parts] or frames
    return f"{PurePath(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "unknown"
