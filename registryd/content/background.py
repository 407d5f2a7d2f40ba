"""Content that comes to this node before a pod needs it: by prefetch, or as a further copy. Pulls go before it."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.expiring import ExpiringSet
from registryd.transfer.allowance import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.content.sought import Sought
    from registryd.oci.reference import FullName, Reference, Repository

# Seconds. An announcement whose announcer ended without withdrawing it is forgotten after this time.
LONGEST_LEASE: Final = 3600.0
# Of the announced images: a list has some hundreds, and a node may get several lists.
_MOST: Final = 4000
# Of the name of an announcer: chart's release and list, or a random number.
_LONGEST_BY: Final = 200
# Seconds in which a pull of a pod is expected to end. Later content of the repository is background again.
_PULL_SECONDS: Final = 600.0
# Seconds: a pull that began so long before the announcement may still run.
_JUST_BEFORE_SECONDS: Final = 60.0
_MOST_ASKED: Final = 1000


class TooManyAnnounced(Exception):
    """More is announced than anybody brings at a time."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What is brought, and by whom: several lists may bring the same image at the same time.

    `reference` is None when the announcer is of an older version, and names the repository alone.
    """

    repository: Repository
    reference: Reference | None = None
    by: str = ""

    def __post_init__(self) -> None:
        if len(self.by) > _LONGEST_BY:
            raise ValueError(f"by: {_LONGEST_BY} characters at most")


@dataclass(slots=True)
class _Lease:
    until: float
    is_asked: bool = False
    """Whether containerd has asked what the name means, as each pull does once."""


class Background:
    """The images that are being brought to this node by the agent itself, or by prefetch.

    containerd does not say for which client it pulls. So all its requests for the repository of such an image count as
    background, until a further pull asks what a name of the repository means: then a pod waits for it, too.
    """

    def __init__(self) -> None:
        self._leases: dict[str, dict[Announced, _Lease]] = {}
        self._count = 0
        self._waited_for: ExpiringSet[str] = ExpiringSet(lifetime=_PULL_SECONDS, capacity=_MOST_ASKED)
        self._just_asked: ExpiringSet[str] = ExpiringSet(lifetime=_JUST_BEFORE_SECONDS, capacity=_MOST_ASKED)

    # What is brought

    @contextmanager
    def bringing(self, name: FullName) -> Iterator[None]:
        """The image is brought, for the length of the block, by the agent itself."""
        self._count += 1
        announced = Announced(name.repository, name.reference, f"agent {self._count}")
        self._add(announced, math.inf)
        try:
            yield
        finally:
            self._remove(announced)

    def announce(self, announced: Announced, seconds: float) -> None:
        """Another process brings an image, for so long unless it says so again; 0 seconds: no more.

        Raises TooManyAnnounced, ValueError.
        """
        if not 0 <= seconds <= LONGEST_LEASE:
            raise ValueError(f"seconds: from 0 to {LONGEST_LEASE:g}")
        lease = self._leases.get(str(announced.repository), {}).get(announced)
        if not seconds:
            self._remove(announced)
            return
        if lease:
            lease.until = clock.now() + seconds
            return
        if self._is_full():
            self._forget_expired()
        if self._is_full():
            raise TooManyAnnounced(f"{_MOST} images are announced")
        self._add(announced, clock.now() + seconds)

    def end_all(self, by: str) -> None:
        """That announcer brings nothing more."""
        for announced in [each for leases in self._leases.values() for each in leases if each.by == by]:
            self._remove(announced)

    # Whom content is for

    def asked(self, repository: Repository, reference: Reference) -> None:
        """Note that containerd begins a pull: it asks what a name means."""
        name = str(repository)
        leases = self._live(name)
        if not leases:
            self._just_asked.add(name)
            return
        own = [lease for each, lease in leases.items() if each.reference == reference and not lease.is_asked]
        if own:
            own[0].is_asked = True
        elif all(each.reference for each in leases):
            self._waited_for.add(name)

    def priority_of(self, sought: Sought) -> Priority:
        """Whom the content is for, as of now."""
        if sought.repository is None or not self._leases:
            return Priority.PULL
        name = str(sought.repository)
        return Priority.BACKGROUND if self._is_live(name) and name not in self._waited_for else Priority.PULL

    # Leases

    def _live(self, name: str) -> dict[Announced, _Lease]:
        now = clock.now()
        return {each: lease for each, lease in self._leases.get(name, {}).items() if lease.until > now}

    def _is_live(self, name: str) -> bool:
        now = clock.now()
        return any(lease.until > now for lease in self._leases.get(name, {}).values())

    def _is_full(self) -> bool:
        return sum(map(len, self._leases.values())) >= _MOST

    def _add(self, announced: Announced, until: float) -> None:
        name = str(announced.repository)
        if not self._is_live(name) and name in self._just_asked:
            self._waited_for.add(name)
        self._leases.setdefault(name, {})[announced] = _Lease(until)

    def _remove(self, announced: Announced) -> None:
        name = str(announced.repository)
        leases = self._leases.get(name, {})
        leases.pop(announced, None)
        if name in self._leases and not leases:
            del self._leases[name]
            self._waited_for.discard(name)

    def _forget_expired(self) -> None:
        for name in list(self._leases):
            for announced in self._leases[name].keys() - self._live(name).keys():
                self._remove(announced)
