"""Copies that this node takes: within its budget, one after the other, and only while they are lacking."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.copies import CopyAnswer
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from registryd.aio.scope import Job
    from registryd.cluster.contract.copies import CopyOffer
    from registryd.content.keepable import ImageHere, Keepable, KeptImage

_log = logging.getLogger(__name__)

# Offers that wait for their turn; further offers go to other nodes.
_MOST_WAITING: Final = 64
# Seconds in which what could not be brought is not tried again: the origin may be away, or want a login.
_FAILED_SECONDS: Final = 600.0
_MOST_FAILED: Final = 1000
# So that nodes which were asked by two others at once do not begin at the same moment.
_JITTER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes of what a node keeps, at most; 0: it keeps nothing."""

    most: int
    used: Callable[[], int]


class Taking:
    """The copies on their way here."""

    def __init__(
        self,
        here: Keepable,
        budget: Budget,
        *,
        still_lacks: Callable[[KeptImage], Awaitable[bool]],
        took: Callable[[KeptImage], Awaitable[None]],
        run: Callable[[Job], object],
    ) -> None:
        """`still_lacks` looks again when its turn has come, `took` is told that it is here.

        `run` lets something go on beside; what it raises is its own affair.
        """
        self._here = here
        self._budget = budget
        self._still_lacks = still_lacks
        self._took = took
        self._run = run
        self._waiting: dict[KeptImage, int] = {}
        self._failed: dict[KeptImage, float] = {}
        self._turn = asyncio.Lock()

    @property
    def sizes(self) -> Mapping[KeptImage, int]:
        """The copies on their way, and their bytes."""
        return self._waiting

    def has_room(self, size: int, *, is_here: bool) -> bool:
        """Whether the budget takes so many bytes more, and the disk, unless they are there already."""
        coming = sum(self._waiting.values()) + size
        is_within = self._budget.used() + coming <= self._budget.most
        return is_within and (is_here or self._here.has_room(coming))

    def offered(self, offer: CopyOffer, known: ImageHere | None) -> CopyAnswer:
        """Answer an offer, and take the image if that is possible; `known` is the meaning of the name here."""
        image = offer.image
        if image in self._waiting:
            return CopyAnswer.TAKEN
        if known is not None and known.image.digest != image.digest and known.seen_at > offer.seen_at:
            return CopyAnswer.OUTDATED
        is_here = known is not None and known.image.digest == image.digest
        now = asyncio.get_running_loop().time()
        if self._failed.get(image, -_FAILED_SECONDS) > now - _FAILED_SECONDS and not is_here:
            return CopyAnswer.REFUSED
        if len(self._waiting) >= _MOST_WAITING or not self.has_room(offer.size, is_here=is_here):
            return CopyAnswer.REFUSED
        self._waiting[image] = offer.size
        self._run(lambda: self._take(image, is_here=is_here))
        return CopyAnswer.TAKEN

    async def _take(self, image: KeptImage, *, is_here: bool) -> None:
        try:
            if not is_here:
                await asyncio.sleep(random.uniform(0, _JITTER_SECONDS))  # noqa: S311 - nothing secret
                async with self._turn:
                    if not await self._still_lacks(image):
                        return
                    _log.info("a copy of %s is taken", image)
                    await self._here.bring(image.name)
            await self._took(image)
        except ContentUnavailable as error:
            _log.warning("no copy of %s could be taken: %s", image, error)
            self._note_failure(image)
        finally:
            del self._waiting[image]

    def _note_failure(self, image: KeptImage) -> None:
        if len(self._failed) >= _MOST_FAILED:
            self._failed.clear()
        self._failed[image] = asyncio.get_running_loop().time()
