"""Looking at images at an endpoint: is all of it there and right?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable
from registryd.inventory.asking import EndpointQueries
from registryd.inventory.once import Once
from registryd.inventory.outcome import ImageOutcome
from registryd.inventory.walk import Lacking

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.outcome import Progress
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Repository
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint


class Looker:
    """Reads images of one endpoint, several at a time; content of several images is read once."""

    def __init__(  # noqa: PLR0913 - all are named
        self,
        client: RegistryClient,
        endpoint: Endpoint,
        progress: Progress,
        *,
        platforms: Collection[Platform],
        parallel: int,
        hashes: bool = True,
        referrers: bool = False,
    ) -> None:
        """`hashes`: read and verify every blob; otherwise only its presence and size are asked for.

        `referrers`: what is attached to an image belongs to it.
        """
        self._asking = EndpointQueries(client, endpoint, asyncio.Semaphore(parallel))
        self._progress = progress
        self._platforms = platforms
        self._parallel = parallel
        self._hashes = hashes
        self._referrers = referrers

    async def look_at(self, images: Sequence[ImageName]) -> Sequence[ImageOutcome]:
        """The outcome of each, in order."""
        outcomes: dict[int, ImageOutcome] = {}
        waiting = iter(enumerate(images))
        async with asyncio.TaskGroup() as group:
            blobs = Once(group, again=False)
            for number in range(min(self._parallel, len(images))):
                group.create_task(self._work(waiting, blobs, outcomes), name=f"look at images {number}")
        return [outcomes[position] for position in range(len(images))]

    async def _work(
        self, waiting: Iterator[tuple[int, ImageName]], blobs: Once, outcomes: dict[int, ImageOutcome]
    ) -> None:
        for position, image in waiting:
            outcomes[position] = outcome = await self._look_at(image, blobs)
            self._progress.finished(outcome)

    async def _look_at(self, image: ImageName, blobs: Once) -> ImageOutcome:
        parts = await self._asking.parts(image, self._platforms, referrers=self._referrers)
        looks = [
            blobs.problem_of(blob.digest, partial(self._problem_of, image.repository, blob))
            for blob in parts.blobs.values()
        ]
        found = zip(parts.blobs, await asyncio.gather(*looks), strict=True)
        lacking = [Lacking(str(digest), str(problem)) for digest, problem in found if problem]
        pieces = len(parts.blobs) + len(parts.manifests)
        return ImageOutcome(image, pieces, parts.size, (*parts.lacking, *lacking), parts.root, parts.attached)

    async def _problem_of(self, repository: Repository, blob: Descriptor) -> ContentUnavailable | None:
        """What is wrong with a blob."""
        try:
            if self._hashes:
                await self._asking.read(repository, blob, self._progress.advanced)
            else:
                await self._asking.require(repository, blob)
                self._progress.advanced(blob.size)
        except ContentUnavailable as problem:
            return problem
        return None
