"""For which names containerd is asking for what it is receiving now.

containerd asks under a name, and labels content with it only when it is whole
(`registryd.store.containerd.source_labels`). Until then its requests tell: it begins an ingest before it asks anybody
for the bytes, and only the pull that has begun it asks. So the name of a request at this node's door is that of the
ingest that is there at this moment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet
from registryd.aio.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.content.growing import Began
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository
    from registryd.store.containerd.ingests import Ingests

# A node receives some layers of some images at a time.
_REMEMBERED: Final = 2_000
# From "whole" to labelled is a transaction of containerd's database, which waits for its disk.
_LABELLED_SECONDS: Final = 60.0
# How long a pull may take until its image has a name here.
_PULL_SECONDS: Final = 3600.0
_MOST_PULLED: Final = 1_000


@dataclass(slots=True)
class _Asking:
    began: Began
    repositories: frozenset[Repository]


class Askings:
    """Remembers names for the very ingests that they were asked for."""

    def __init__(self, ingests: Ingests, flows_in: Callable[[Digest], bool]) -> None:
        """`flows_in`: whether the agent is taking it in, for whichever name."""
        self._ingests = ingests
        self._flows_in = flows_in
        self._of: Recent[Digest, _Asking] = Recent(_REMEMBERED)
        self._pulled: ExpiringSet[Repository] = ExpiringSet(lifetime=_PULL_SECONDS, capacity=_MOST_PULLED)

    def asked(self, digest: Digest, repository: Repository) -> bool:
        """Note that containerd asks for it under that name; whether what is arriving is that registry's.

        Another registry's name counts for an ingest that is still empty: the pull before has given up. Once there are
        bytes, they are what the first one got.
        """
        self._pulled.add(repository)
        ingest = self._ingests.look(digest)
        if ingest is None:
            return False
        known = self._of.get(digest)
        if known is not None and known.began == ingest.began and _is_of_same_registry(known.repositories, repository):
            known.repositories |= {repository}
            return True
        if ingest.size or self._flows_in(digest):
            return False
        self._of.put(digest, _Asking(ingest.began, frozenset({repository})))
        return True

    def of_arriving(self, digest: Digest) -> frozenset[Repository]:
        """The names of what is arriving now."""
        known, ingest = self._of.get(digest), self._ingests.look(digest)
        return known.repositories if known and ingest and known.began == ingest.began else frozenset()

    def of_arrived(self, digest: Digest) -> frozenset[Repository]:
        """The names of what has just become whole, and may not be labelled yet: it is the same file."""
        known = self._of.get(digest)
        if known is None or (file := self._ingests.whole(digest)) is None:
            return frozenset()
        is_fresh = time.time() - file.st_ctime < _LABELLED_SECONDS
        is_same = (file.st_dev, file.st_ino) == (known.began.device, known.began.inode)
        return known.repositories if is_fresh and is_same else frozenset()

    def pulled(self) -> Iterator[Repository]:
        """The content for which containerd asked lately, oldest first; its images may have no names here yet."""
        return iter(self._pulled)


def _is_of_same_registry(known: frozenset[Repository], repository: Repository) -> bool:
    return any(each.registry == repository.registry for each in known)
