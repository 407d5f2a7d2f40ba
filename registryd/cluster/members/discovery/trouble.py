"""Says once that discovery has a problem, and once that it is over."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


class DiscoveryTrouble:
    """The problem that a way of discovery has now, if any; `subject` is what it is about."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._current: str | None = None

    def begins(self, problem: str) -> None:
        """Log the problem, unless it is the problem logged last."""
        if problem != self._current:
            _log.warning("%s: %s; the peers stay as they are", self._subject, problem)
        self._current = problem

    def is_over(self) -> None:
        """Log that all is well, if there was a problem."""
        if self._current is not None:
            _log.info("%s: read again", self._subject)
        self._current = None
