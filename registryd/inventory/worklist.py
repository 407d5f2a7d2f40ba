"""Images that are still to be done, in the list's order; those of a registry that wants to be left alone wait."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.inventory.recalled import Said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.inventory.lists import ImageName
    from registryd.oci.reference import Registry


@dataclass(frozen=True, slots=True)
class Job:
    """One image, where it stood in the list, how often it has been tried in vain, and what was said in this attempt."""

    image: ImageName
    position: int
    attempts: int = 0
    said: Said = field(default_factory=Said, compare=False)


@dataclass(slots=True)
class _Queue:
    """The jobs of one registry; `quiet_until` is of the loop's clock, `waited` in seconds.

    `most` jobs run at a time: half as many after each pause that the registry asks for, one more with each that is
    done. As many as before would use up what the registry admits before one of them comes to its end.
    """

    jobs: deque[Job] = field(default_factory=deque)
    quiet_until: float = float("-inf")
    waited: float = 0.0
    running: int = 0
    most: float = float("inf")

    def is_ready(self, now: float) -> bool:
        return bool(self.jobs) and self.quiet_until <= now and self.running < self.most

    def pause(self, until: float, now: float) -> None:
        if self.quiet_until <= now:
            self.most = max(1, self.running // 2)
        self.quiet_until = max(self.quiet_until, until)


class Worklist:
    """Gives work to several at a time, each of whom says when a job is done or that it is to be done later."""

    def __init__(self, images: Iterable[ImageName], *, patience: float) -> None:
        """`patience`: how many seconds in all a registry is waited for."""
        self._patience = patience
        self._queues: dict[Registry, _Queue] = {}
        self._changed = asyncio.Event()
        for position, image in enumerate(images):
            self._queue(image).jobs.append(Job(image, position))

    async def take(self) -> Job | None:
        """The next job, when there is one; None when all are done."""
        while True:
            now = asyncio.get_running_loop().time()
            waiting = [queue for queue in self._queues.values() if queue.jobs]
            if ready := [queue for queue in waiting if queue.is_ready(now)]:
                chosen = min(ready, key=lambda queue: _rank(queue.jobs[0]))
                chosen.running += 1
                return chosen.jobs.popleft()
            if not waiting and not any(queue.running for queue in self._queues.values()):
                return None
            await self._wait(min((queue.quiet_until for queue in waiting if queue.quiet_until > now), default=None))

    def done(self, job: Job) -> None:
        """It needs nothing more."""
        self._queue(job.image).most += 1
        self._give_back(job)

    def again(self, job: Job) -> None:
        """It failed, and is tried once more after those that were not tried yet."""
        self._queue(job.image).jobs.append(Job(job.image, job.position, job.attempts + 1))
        self._give_back(job)

    def later(self, job: Job, seconds: float) -> bool:
        """Its registry wants to be left alone for so long: whether that is waited for."""
        queue, now = self._queue(job.image), asyncio.get_running_loop().time()
        # Others may have been told the same meanwhile.
        more = max(0.0, now + seconds - max(queue.quiet_until, now))
        if queue.waited + more > self._patience:
            return False
        queue.waited += more
        queue.pause(now + seconds, now)
        queue.jobs.appendleft(job)
        self._give_back(job)
        return True

    def _give_back(self, job: Job) -> None:
        self._queue(job.image).running -= 1
        self._tell()

    def _queue(self, image: ImageName) -> _Queue:
        return self._queues.setdefault(image.repository.registry, _Queue())

    async def _wait(self, until: float | None) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()


def _rank(job: Job) -> tuple[int, int]:
    return job.attempts, job.position
