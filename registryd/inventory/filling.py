"""Filling a cache from a list: image by image, everything that it lacks is pulled through it and then is there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.inventory.asking import EndpointQueries, NotKept, stored_only
from registryd.inventory.once import Once
from registryd.inventory.outcome import ImageOutcome
from registryd.inventory.recalled import Recalled
from registryd.inventory.walk import Lacking, Parts
from registryd.inventory.worklist import Worklist
from registryd.upstream.answers import Kept
from registryd.upstream.errors import UpstreamDenied, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.outcome import Progress
    from registryd.inventory.worklist import Job
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Repository
    from registryd.upstream.answers import ManifestBytes, StoredWhole
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint

# Content that an upstream broke off usually comes in the second attempt.
_ATTEMPTS: Final = 3
# A blob of a manifest that has only just come has not come yet, unless it is a base that other images have as well: to
# ask whether it is there costs as much as to read so much again.
_READ_ANYWAY: Final = 1024 * 1024
_NOT_KEPT: Final = "came, and is not in the cache: it has no room for it (cache.size_limit, cache.keep_free)"
_BY_DIGEST: Final = "is there by its digest; {} (export --images gives it the tag)"
_REMOVED: Final = "came, and was removed for others: the cache is too small for the list (cache.size_limit)"


class _Deferred(Exception):
    """The registry wants to be left alone for a while."""

    def __init__(self, failure: UpstreamFailed, seconds: float) -> None:
        super().__init__(str(failure))
        self.seconds = seconds


class Filler:
    """Has a cache fetch images, several at a time. Content that is there already is not read again."""

    def __init__(  # noqa: PLR0913 - all are named
        self,
        client: RegistryClient,
        cache: Endpoint,
        progress: Progress,
        *,
        platforms: Collection[Platform],
        parallel: int,
        patience: float,
        referrers: bool = False,
    ) -> None:
        """`patience`: how many seconds in all a registry is waited for that wants to be left alone.

        `referrers`: what is attached to an image belongs to it.
        """
        slots = asyncio.Semaphore(parallel)
        self._through = EndpointQueries(client, cache, slots)
        self._stored = EndpointQueries(client, stored_only(cache), slots)
        self._progress = progress
        self._platforms = platforms
        self._parallel = parallel
        self._patience = patience
        self._referrers = referrers

    async def fill(self, images: Sequence[ImageName]) -> Sequence[ImageOutcome]:
        """The outcome of each image, in order: what the cache has of it afterwards."""
        outcomes: dict[int, ImageOutcome] = {}
        worklist = Worklist(images, patience=self._patience)
        async with asyncio.TaskGroup() as group:
            blobs = Once(group, again=True)
            for number in range(min(self._parallel, len(images))):
                group.create_task(self._work(worklist, blobs, outcomes), name=f"fill {number}")
        waiting = iter(range(len(images)))
        async with asyncio.TaskGroup() as group:
            for number in range(min(self._parallel, len(images))):
                group.create_task(self._look_again(waiting, outcomes), name=f"look again {number}")
        return [outcomes[position] for position in range(len(images))]

    async def _work(self, worklist: Worklist, blobs: Once, outcomes: dict[int, ImageOutcome]) -> None:
        while job := await worklist.take():
            try:
                outcome = await self._fill(job, blobs)
            except _Deferred as deferred:
                registry = job.image.repository.registry
                if worklist.later(job, deferred.seconds):
                    self._progress.waits(registry, deferred.seconds, str(deferred))
                    continue
                outcome = ImageOutcome(job.image, 0, 0, (Lacking(str(job.image.reference), str(deferred)),))
            if outcome is None:
                worklist.again(job)
                continue
            outcomes[job.position] = outcome
            self._progress.finished(outcome)
            worklist.done(job)

    async def _fill(self, job: Job, blobs: Once) -> ImageOutcome | None:
        """What came of it; None when another attempt may do better. Raises _Deferred."""
        image, recalled = job.image, Recalled(self._through, job.said)
        try:
            root = await recalled.root(partial(self._through.whole, image, self._platforms))
        except ContentUnavailable as failure:
            parts = Parts()
            parts.fails(image.reference, failure)
        else:
            if root.whole and not self._referrers:
                return await self._stored_as_whole(image, root, root.whole)
            parts = await self._through.parts(
                image, self._platforms, root=root, recalled=recalled, referrers=self._referrers
            )
        is_new = not any(manifest.kept is Kept.HIT for manifest in parts.manifests.values())
        looks = [
            blobs.problem_of(blob.digest, partial(self._bring, image.repository, blob, is_new=is_new))
            for blob in parts.blobs.values()
        ]
        problems = dict(zip(parts.blobs, await asyncio.gather(*looks), strict=True))
        problems |= {digest: await self._lost(image.repository, digest, parts) for digest in parts.manifests}
        failures = [*parts.failures, *(problem for problem in problems.values() if problem)]
        _require_no_pause(failures)
        if job.attempts + 1 < _ATTEMPTS and any(map(_may_pass, failures)):
            return None
        note = await self._learn_tag(image) if not failures else ""
        lacking = [Lacking(str(digest), str(problem)) for digest, problem in problems.items() if problem]
        pieces = len(parts.blobs) + len(parts.manifests)
        return ImageOutcome(image, pieces, parts.size, (*parts.lacking, *lacking), parts.root, parts.attached, note)

    async def _stored_as_whole(self, image: ImageName, root: ManifestBytes, whole: StoredWhole) -> ImageOutcome:
        note = await self._learn_tag(image)
        self._progress.advanced(whole.size)
        return ImageOutcome(image, whole.pieces, whole.size, (), root.digest, note=note)

    async def _bring(self, repository: Repository, blob: Descriptor, *, is_new: bool) -> ContentUnavailable | None:
        """Have the cache get a blob; why it has not got it."""
        try:
            if (not is_new or blob.size > _READ_ANYWAY) and await self._stored.has(repository, blob):
                self._progress.advanced(blob.size)
                return None
            kept = await self._through.read(repository, blob, self._progress.advanced)
            if kept is not Kept.UNKNOWN or await self._stored.has(repository, blob):
                return None
        except ContentUnavailable as problem:
            return problem
        return NotKept(_NOT_KEPT)

    async def _lost(self, repository: Repository, digest: Digest, parts: Parts) -> ContentUnavailable | None:
        """Why the cache does not have a manifest that came."""
        try:
            if parts.manifests[digest].kept is not Kept.UNKNOWN or await self._stored.has_manifest(repository, digest):
                return None
        except ContentUnavailable as problem:
            return problem
        return NotKept(_NOT_KEPT)

    async def _learn_tag(self, image: ImageName) -> str:
        """An image that is named by both is found by its tag as well, if that still means it; a note if it does not."""
        if not (image.tag and image.digest):
            return ""
        try:
            means = await self._through.ask_tag(image.repository, image.tag)
        except ContentNotFound:
            return _BY_DIGEST.format(f"there is no tag {image.tag} any more")
        except ContentUnavailable as failure:
            return _BY_DIGEST.format(f"what {image.tag} means cannot be asked: {failure}")
        return _BY_DIGEST.format(f"{image.tag} means another image by now") if means not in {None, image.digest} else ""

    async def _look_again(self, waiting: Iterator[int], outcomes: dict[int, ImageOutcome]) -> None:
        for position in waiting:
            outcomes[position] = await self._as_it_is(outcomes[position])

    async def _as_it_is(self, outcome: ImageOutcome) -> ImageOutcome:
        """What is complete was so a while ago: an image that had to go for others has lost its manifest first."""
        if outcome.lacking or outcome.root is None:
            return outcome
        try:
            if await self._stored.has_manifest(outcome.image.repository, outcome.root):
                return outcome
            why = _REMOVED
        except ContentUnavailable as problem:
            why = str(problem)
        return replace(outcome, lacking=(Lacking(str(outcome.root), why),))


def _require_no_pause(failures: Sequence[ContentUnavailable]) -> None:
    """Raises _Deferred when the registry says when to come again."""
    pauses = [each for each in failures if isinstance(each, UpstreamFailed) and each.retry_after is not None]
    if pauses:
        longest = max(pauses, key=lambda failure: failure.retry_after or 0.0)
        raise _Deferred(longest, max(1.0, longest.retry_after or 0.0))


def _may_pass(failure: ContentUnavailable) -> bool:
    """Whether it may be otherwise the next time."""
    return not isinstance(failure, ContentNotFound | UpstreamDenied | NotKept)
