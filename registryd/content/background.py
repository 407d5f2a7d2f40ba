"""Content that comes to this node before a pod needs it: by prefetch, or as a further copy. Pulls go before it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from registryd.transfer.allowance import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.content.sought import Sought
    from registryd.oci.reference import Repository

# Seconds. An announcement whose announcer ended without withdrawing it is forgotten after this time.
LONGEST_LEASE: Final = 3600.0
# Of the announced repositories: a list of images has some hundreds, and prefetch brings a few at a time.
_MOST: Final = 1000


class TooManyAnnounced(Exception):
    """More is announced than anybody brings at a time."""


class Background:
    """The repositories of which images are being brought to this node by the agent itself, or by prefetch.

    containerd does not say for which client it pulls. So all its requests for such a repository count as background,
    also those for a pod that wants the same image at that moment. This slows that pod only while other pulls run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bringing: dict[str, int] = {}
        self._announced: dict[str, float] = {}

    @contextmanager
    def bringing(self, repository: Repository) -> Iterator[None]:
        """An image of it is brought, for the length of the block."""
        name = str(repository)
        self._bringing[name] = self._bringing.get(name, 0) + 1
        try:
            yield
        finally:
            self._bringing[name] -= 1
            if not self._bringing[name]:
                del self._bringing[name]

    def announce(self, repository: Repository, seconds: float) -> None:
        """Another process brings an image of it, for so long unless it says so again; 0 seconds: no more.

        Raises TooManyAnnounced, ValueError.
        """
        if not 0 <= seconds <= LONGEST_LEASE:
            raise ValueError(f"seconds: from 0 to {LONGEST_LEASE:g}")
        now, name = self._clock(), str(repository)
        self._announced = {each: until for each, until in self._announced.items() if until > now and each != name}
        if not seconds:
            return
        if len(self._announced) >= _MOST:
            raise TooManyAnnounced(f"{_MOST} repositories are announced")
        self._announced[name] = now + seconds

    def priority_of(self, sought: Sought) -> Priority:
        """Whom the content is for."""
        if sought.repository is None or not (self._bringing or self._announced):
            return Priority.PULL
        name = str(sought.repository)
        is_background = name in self._bringing or self._announced.get(name, 0.0) > self._clock()
        return Priority.BACKGROUND if is_background else Priority.PULL
