"""Looking at images at an endpoint: is all of it there and right, or is it there after we have asked for it?"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.inventory.walk import Lacking, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.inventory.lists import ImageName
    from registryd.inventory.walk import Platform
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image: its pieces of content, their bytes, and what it lacks."""

    image: ImageName
    pieces: int
    size: int
    lacking: tuple[Lacking, ...]

    @property
    def is_complete(self) -> bool:
        return not self.lacking


class Progress(Protocol):
    """Is told how far it has come."""

    def advanced(self, count: int) -> None:
        """So many bytes of blobs are known to be right."""

    def finished(self, outcome: Outcome) -> None:
        """An image is done."""


def stored_only(endpoint: Endpoint) -> Endpoint:
    """The same endpoint, asked for what it has already: a cache fetches nothing for it (RFC 9111 5.2.1.7)."""
    return replace(endpoint, headers=(*endpoint.headers, ("Cache-Control", "only-if-cached")))


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
        unless_at: Endpoint | None = None,
    ) -> None:
        """`hashes`: read and verify every blob; otherwise only its presence and size are asked for.

        `unless_at`: blobs that are there already, in their right size, are not read.
        """
        self._client = client
        self._endpoint = endpoint
        self._progress = progress
        self._platforms = platforms
        self._hashes = hashes
        self._unless_at = unless_at
        self._slots = asyncio.Semaphore(parallel)
        self._blobs: dict[Digest, asyncio.Task[str | None]] = {}

    async def look_at(self, images: Sequence[ImageName]) -> Sequence[Outcome]:
        """The outcome of each, in order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._look_at(image, group), name=f"look at {image}") for image in images]
        return [task.result() for task in tasks]

    async def _look_at(self, image: ImageName, group: asyncio.TaskGroup) -> Outcome:
        async with self._slots:
            parts = await parts_of(image, self._client, self._endpoint, platforms=self._platforms)
        for blob in parts.blobs.values():
            if blob.digest not in self._blobs:
                question = self._problem_of(image.repository, blob)
                self._blobs[blob.digest] = group.create_task(question, name=f"look at {blob.digest}")
        problems = [(blob, await self._blobs[blob.digest]) for blob in parts.blobs.values()]
        lacking = [Lacking(str(blob.digest), problem) for blob, problem in problems if problem]
        pieces = len(parts.blobs) + len(parts.manifests)
        outcome = Outcome(image, pieces, parts.size, (*parts.lacking, *lacking))
        self._progress.finished(outcome)
        return outcome

    async def _problem_of(self, repository: Repository, blob: Descriptor) -> str | None:
        """What is wrong with a blob."""
        async with self._slots:
            try:
                if self._unless_at and await self._size_problem(self._unless_at, repository, blob) is None:
                    return None
                if self._hashes:
                    return await self._read(repository, blob)
                return await self._size_problem(self._endpoint, repository, blob)
            except ContentUnavailable as error:
                return str(error)

    async def _size_problem(self, endpoint: Endpoint, repository: Repository, blob: Descriptor) -> str | None:
        try:
            size = await self._client.head_blob(endpoint, repository, blob.digest)
        except ContentNotFound as error:
            return str(error)
        if size != blob.size:
            return f"has {size} bytes instead of {blob.size}"
        self._progress.advanced(blob.size)
        return None

    async def _read(self, repository: Repository, blob: Descriptor) -> str | None:
        hasher = blob.digest.hasher()
        received = 0
        opening = self._client.open_blob(self._endpoint, repository, blob.digest)
        async with opening as stream, aclosing(stream.chunks) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                await asyncio.to_thread(hasher.update, chunk)
                self._progress.advanced(len(chunk))
        if received != blob.size:
            return f"has {received} bytes instead of {blob.size}"
        return None if blob.digest.matches(hasher) else "is damaged"
