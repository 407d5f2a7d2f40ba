"""Keeping copies: which images this node keeps, and which nodes it asks when there are too few copies.

Nodes that keep an image announce its key to the index nodes. Nodes that only have the image do not. So each node can
ask how many keep it, and all nodes rank the keepers alike: the first sees to it that there are enough, and the last
ones stop when there are too many. When there are too few, a node that already has the image starts to keep it, which
costs a label. Only when no further node has the image is it brought to another node.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.aio.unexpected import note_unexpected
from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
from registryd.cluster.copies.taking import Budget, Taking
from registryd.config.keeping import Wanted, wanted_of
from registryd.content.source import ContentUnavailable
from registryd.observability.metrics import CopyState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from registryd.aio.scope import Job
    from registryd.cluster.copies.census import Census, CopyStanding
    from registryd.config.keeping import KeepRule
    from registryd.content.keepable import ImageHere, Keepable, KeptImage
    from registryd.notation import Address
    from registryd.oci.digest import Digest

_log = logging.getLogger(__name__)

# Seconds between two looks at an image that this node keeps. A member that is gone is set aside within 15.
_LOOK_SECONDS: Final = 30.0
# Between two looks at an image that this node only has: the keepers ask this node when they are too few, unless all of
# them are lost at once.
_IDLE_SECONDS: Final = 3600.0
# No index node can say, or a question went wrong.
_RETRY_SECONDS: Final = 10.0
# Nodes that get an image in one rollout look at it one after the other, in the order in which they rank: so the first
# ones keep it, and the others see that. Their words take some 60 ms to the index nodes.
_APART_SECONDS: Final = 0.2
_LINE_SECONDS: Final = 60.0
# Of the delay, when a single copy is left.
_HURRY: Final = 0.2
# Members asked in one look, and how long a member that said no is passed over.
_MOST_ASKED: Final = 8
_REFUSED_SECONDS: Final = 600.0
# A timer may fire a moment early.
_SLACK_SECONDS: Final = 0.01
# A further look at once would change nothing: the next look is later, by so much more or less.
_SPREAD: Final = 0.2


class Offering(Protocol):
    """The other members."""

    async def offer(self, address: Address, offer: CopyOffer) -> CopyAnswer:
        """Ask one to keep an image. Raises ContentUnavailable."""


@dataclass(slots=True)
class Keeping:
    """An image that this node keeps: its bytes, and how it stands in the cluster as far as is known."""

    wanted: Wanted
    size: int
    keepers: frozenset[Address] = frozenset()
    is_enough: bool = True
    is_known: bool = False
    is_outdated: bool = False
    lacking_since: float | None = None
    surplus_since: float | None = None
    refused: dict[Address, float] = field(default_factory=dict)

    @property
    def state(self) -> CopyState:
        if not self.is_known:
            return CopyState.UNKNOWN
        if self.is_enough:
            return CopyState.ENOUGH
        return CopyState.ALONE if len(self.keepers) == 1 else CopyState.FEW


class CopyKeeper:
    """One node's part. Times are seconds of the event loop's clock."""

    def __init__(  # noqa: PLR0913 - its parts, all named
        self,
        rules: Sequence[KeepRule],
        here: Keepable,
        census: Census,
        offering: Offering,
        *,
        most_bytes: int,
        delay: float,
        run: Callable[[Job], object],
        tell: Callable[[], None] = lambda: None,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        """`delay`: how long copies have to be lacking before more are made. `tell` is called when `keys` changes.

        `report` is called when `kept` may say something else.
        """
        self._rules = rules
        self._here = here
        self._census = census
        self._offering = offering
        self._delay = delay
        self._tell = tell
        self._report = report
        self.kept: dict[KeptImage, Keeping] = {}
        self._images: dict[KeptImage, ImageHere] = {}
        self._by_name: dict[str, ImageHere] = {}
        self._due: dict[KeptImage, float] = {}
        self._is_stopping = False
        self._has_news = True
        budget = Budget(most_bytes, lambda: sum(each.size for each in self.kept.values()))
        self._waiting: asyncio.Timeout | None = None
        self._taking = Taking(here, budget, still_lacks=self._still_lacks, took=self._took, run=run)

    # What others see

    def keys(self) -> frozenset[Digest]:
        """The keys to announce to index nodes."""
        return frozenset() if self._is_stopping else frozenset(image.key for image in self.kept)

    def taking(self) -> Mapping[KeptImage, int]:
        """The images on their way here, and their bytes."""
        return self._taking.sizes

    def offered(self, offer: CopyOffer) -> CopyAnswer:
        """A member asks this node to keep an image. Answered from memory; what follows goes on beside."""
        if self._is_stopping or self._wanted(offer.image) is None:
            return CopyAnswer.REFUSED
        if offer.image in self.kept:
            return CopyAnswer.TAKEN
        return self._taking.offered(offer, self._by_name.get(str(offer.image)))

    def stop(self) -> None:
        """This node is about to leave: it takes nothing more, and is not counted."""
        self._is_stopping = True
        self._tell()

    # Its life

    async def run(self) -> NoReturn:
        """Keep what is to be kept until cancelled."""
        await self._go_on_keeping()
        while True:
            if self._has_news:
                with suppress(ContentUnavailable):
                    await self._look_here()
                    self._has_news = False
            for image in self._now_due():
                await self._look_at(image)
            self._report()
            await self._wait()

    async def _go_on_keeping(self) -> None:
        """Go on keeping what the agent before has kept, and announce it at once."""
        names = await self._kept_before()
        for image in [image for image in self._images if str(image) in names]:
            if (wanted := self._wanted(image)) and (size := await self._size_of(image)) is not None:
                self.kept[image] = Keeping(wanted, size)
                self._due[image] = self._now() + random.uniform(0, _LOOK_SECONDS)  # noqa: S311 - nothing secret
        for name in names - {str(image) for image in self.kept}:
            for image in self._images:
                if str(image) == name:
                    await self._let_go(image)
        self._tell()

    async def _kept_before(self) -> frozenset[str]:
        while True:
            with suppress(ContentUnavailable):
                names = frozenset(str(name) for name in await self._here.kept())
                await self._look_here()
                return names
            await asyncio.sleep(_RETRY_SECONDS)

    async def _wait(self) -> None:
        due = min(self._due.values(), default=None)
        try:
            async with asyncio.timeout_at(due) as self._waiting:
                await self._here.wait_changed()
                self._has_news = True
        except TimeoutError:
            pass
        finally:
            self._waiting = None

    async def _look_here(self) -> None:
        """Take note of new images and of removed ones."""
        found = {each.image: each for each in await self._here.images() if self._wanted(each.image) is not None}
        self._images, self._by_name = found, {str(image): each for image, each in found.items()}
        gone = [image for image in self.kept if image not in found]
        for image in gone:
            del self.kept[image]
            if str(image) not in self._by_name:
                _log.info("%s is not here any more, of which this node has kept a copy", image)
        for image in self._due.keys() - found.keys():
            del self._due[image]
        for image in found.keys() - self._due.keys():
            self._due[image] = self._now() + self._turn(image)
        if gone:
            self._tell()

    def _now_due(self) -> list[KeptImage]:
        soon = self._now() + _SLACK_SECONDS
        return [image for image, due in self._due.items() if due <= soon]

    # One image

    async def _look_at(self, image: KeptImage) -> None:
        try:
            pause = await (self._see_to(image) if image in self.kept else self._join(image))
        except ContentUnavailable as error:
            _log.debug("the copies of %s cannot be looked at: %s", image, error)
            pause = _RETRY_SECONDS
        except Exception as error:  # noqa: BLE001 - one image must not keep the others from being looked at
            note_unexpected("keeping copies", error)
            pause = _IDLE_SECONDS
        self._due[image] = self._now() + pause * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311

    async def _join(self, image: KeptImage) -> float:
        """Keep an image that is here, if too few nodes keep it."""
        wanted, others = self._wanted(image), await self._census.who_tell(image.key)
        if wanted is None or others is None:
            return _RETRY_SECONDS if wanted else _IDLE_SECONDS
        if not self._is_lacking(image, others, wanted):
            return _IDLE_SECONDS
        size = await self._size_of(image)
        if size is None or not self._taking.has_room(size, is_here=True) or not await self._keep(image, wanted, size):
            return _IDLE_SECONDS
        return _RETRY_SECONDS

    async def _see_to(self, image: KeptImage) -> float:
        """See to an image that this node keeps: are there enough copies?"""
        keeping, others = self.kept[image], await self._census.who_tell(image.key)
        if others is None:
            return _RETRY_SECONDS
        keepers = others | {self._census.own_address}
        standing = self._census.standing(image.key, keepers, keeping.wanted)
        keeping.keepers, keeping.is_enough, keeping.is_known = keepers, standing.is_enough, True
        if standing.is_enough:
            keeping.lacking_since, keeping.is_outdated = None, False
            await self._leave_if_surplus(image, keeping, standing)
            return _LOOK_SECONDS
        keeping.surplus_since = None
        now = self._now()
        keeping.lacking_since = now if keeping.lacking_since is None else keeping.lacking_since
        delay = self._delay * (_HURRY if len(keepers) == 1 else 1)
        is_time = now - keeping.lacking_since >= delay
        if is_time and standing.first == self._census.own_address and not keeping.is_outdated:
            await self._seek(image, keeping, standing)
        return min(_LOOK_SECONDS, max(1.0, keeping.lacking_since + delay - now)) if not is_time else _LOOK_SECONDS

    async def _leave_if_surplus(self, image: KeptImage, keeping: Keeping, standing: CopyStanding) -> None:
        if self._census.own_address in standing.stay:
            keeping.surplus_since = None
            return
        now = self._now()
        keeping.surplus_since = now if keeping.surplus_since is None else keeping.surplus_since
        if now - keeping.surplus_since >= self._delay:
            del self.kept[image]
            self._tell()
            await self._let_go(image)

    async def _seek(self, image: KeptImage, keeping: Keeping, standing: CopyStanding) -> None:
        """Ask other nodes to keep the image: first the nodes that have it, then the nodes that come next."""
        missing = max(keeping.wanted.copies - len(keeping.keepers), 1 if standing.lacks_zone else 0)
        seen_at = self._images[image].seen_at
        offer, now = CopyOffer(image, keeping.size, seen_at), self._now()
        keeping.refused = {each: until for each, until in keeping.refused.items() if until > now}
        asked: set[Address] = set()
        for address in await self._candidates(image, keeping, standing):
            if missing <= 0 or len(asked) >= _MOST_ASKED:
                return
            if address in keeping.refused or address in asked:
                continue
            asked.add(address)
            answer = await self._ask(address, offer)
            missing -= answer is CopyAnswer.TAKEN
            if answer is CopyAnswer.REFUSED:
                keeping.refused[address] = now + _REFUSED_SECONDS
            if answer is CopyAnswer.OUTDATED:
                keeping.is_outdated = True
                return

    async def _candidates(self, image: KeptImage, keeping: Keeping, standing: CopyStanding) -> Iterator[Address]:
        """Other members, perhaps the same one twice."""
        key, keepers = image.key, keeping.keepers
        line = self._census.next_after(key, keepers)
        if standing.lacks_zone:
            elsewhere = self._census.next_in_new_zone(key, keepers)
            return elsewhere if len(keepers) >= keeping.wanted.copies else chain(elsewhere, line)
        having = (await self._census.who_tell(image.digest) or frozenset()) - keepers
        return chain(self._census.in_line(key, having), line)

    async def _ask(self, address: Address, offer: CopyOffer) -> CopyAnswer:
        try:
            return await self._offering.offer(address, offer)
        except ContentUnavailable as error:
            _log.debug("%s does not say whether it keeps %s: %s", address, offer.image, error)
            return CopyAnswer.REFUSED

    # Keeping

    async def _keep(self, image: KeptImage, wanted: Wanted, size: int) -> bool:
        if not await self._here.keep(image.name):
            return False
        self.kept[image] = Keeping(wanted, size)
        self._tell()
        return True

    async def _let_go(self, image: KeptImage) -> None:
        with suppress(ContentUnavailable):  # at the next start it is found, and let go then
            await self._here.let_go(image.name)

    async def _took(self, image: KeptImage) -> None:
        """Keep the image that was brought, or is here, from now on, if it has the intended digest."""
        await self._look_here()
        wanted, size = self._wanted(image), await self._size_of(image)
        if image not in self._images or wanted is None or size is None:
            _log.info("%s means something else by now, so no copy of what it was is kept", image)
            return
        if image not in self.kept and await self._keep(image, wanted, size):
            self._due[image] = due = self._now() + _RETRY_SECONDS
            # The loop may be about to sleep for an hour: it has looked at the image when others kept it.
            waiting = self._waiting
            if waiting and not waiting.expired() and (waiting.when() or due) >= due:
                waiting.reschedule(due)

    async def _still_lacks(self, image: KeptImage) -> bool:
        wanted, others = self._wanted(image), await self._census.who_tell(image.key)
        return wanted is not None and others is not None and self._is_lacking(image, others, wanted)

    def _is_lacking(self, image: KeptImage, others: Collection[Address], wanted: Wanted) -> bool:
        """Whether this node had better keep it besides the others."""
        if len(others) < wanted.copies:
            return True
        standing = self._census.standing(image.key, others, wanted)
        return standing.lacks_zone and self._census.is_new_zone(self._census.own_address, others)

    def _wanted(self, image: KeptImage) -> Wanted | None:
        return wanted_of(self._rules, str(image), str(image.name.repository))

    async def _size_of(self, image: KeptImage) -> int | None:
        return await self._here.size_of(image.name)

    def _turn(self, image: KeptImage) -> float:
        """After how many seconds to look at an image that has just come."""
        before, members = self._census.place_in_line(image.key)
        return before * min(_APART_SECONDS, _LINE_SECONDS / max(1, members))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
