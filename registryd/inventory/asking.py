"""An endpoint's content, asked for so many pieces at a time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.inventory.attaching import attach
from registryd.inventory.walk import parts_of
from registryd.oci.errors import ManifestInvalid
from registryd.oci.referrers import EMPTY, parse_referrers, referrers_tag
from registryd.upstream.errors import HeadRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from registryd.inventory.lists import ImageName
    from registryd.inventory.recalled import Recalled
    from registryd.inventory.walk import Parts
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Reference, Repository, Tag
    from registryd.upstream.answers import Kept, ManifestBytes
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint

# A turn of a thread costs as much as to hash so much.
_HASHED_AT_ONCE: Final = 64 * 1024


class Damaged(ContentUnavailable):
    """The bytes that came are not the right ones."""


class NotKept(ContentUnavailable):
    """The content came, and is not in the cache."""


def stored_only(endpoint: Endpoint) -> Endpoint:
    """The same endpoint, asked for what it has already: a cache fetches nothing for it (RFC 9111 5.2.1.7)."""
    return replace(endpoint, headers=(*endpoint.headers, ("Cache-Control", "only-if-cached")))


class EndpointQueries:
    """One endpoint. Every question raises ContentUnavailable, with the endpoint's own reason."""

    def __init__(self, client: RegistryClient, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        self._client = client
        self._endpoint = endpoint
        self._slots = slots

    async def parts(
        self,
        image: ImageName,
        platforms: Collection[Platform],
        *,
        root: ManifestBytes | None = None,
        recalled: Recalled | None = None,
        referrers: bool = False,
    ) -> Parts:
        """All that the image consists of; what could not be had is in it. `root` has been read already.

        `recalled` knows what was said before.

        `referrers`: what is attached to it as well.
        """
        asked = recalled or self
        read = partial(asked.manifest, image.repository)
        parts = await parts_of(image.reference, read, platforms=platforms, root=root)
        if referrers:
            parts.attached = await attach(parts, image.repository, asked)
        return parts

    async def whole(self, image: ImageName, platforms: Collection[Platform]) -> ManifestBytes:
        """Its manifest, of a cache that may have stored all that it leads to."""
        names = ",".join(map(str, platforms))
        async with self._slots:
            return await self._client.get_manifest(
                self._endpoint, image.repository, image.reference, prefer=f'whole="{names}"' if names else "whole"
            )

    async def manifest(self, repository: Repository, reference: Reference) -> ManifestBytes:
        async with self._slots:
            return await self._client.get_manifest(self._endpoint, repository, reference)

    async def referrers(self, repository: Repository, subject: Digest) -> bytes:
        """The list of what is attached to it, by the API or by the tag of those that don't have it."""
        async with self._slots:
            try:
                return await self._client.get_referrers(self._endpoint, repository, subject)
            except ContentNotFound:
                pass
            try:
                got = await self._client.get_manifest(self._endpoint, repository, referrers_tag(subject))
                parse_referrers(got.data)
            except ContentNotFound:
                return EMPTY
            except ManifestInvalid as error:
                raise Damaged(str(error)) from error
            return got.data

    async def ask_tag(self, repository: Repository, tag: Tag) -> Digest | None:
        """Let a cache know the tag, if its upstream does; what it means, if that is said. Raises ContentUnavailable."""
        async with self._slots:
            return (await self._client.head_manifest(self._endpoint, repository, tag)).digest

    async def has_manifest(self, repository: Repository, reference: Reference) -> bool:
        """Whether it is there."""
        async with self._slots:
            try:
                await self._client.head_manifest(self._endpoint, repository, reference)
            except ContentNotFound:
                return False
            return True

    async def require(self, repository: Repository, blob: Descriptor) -> None:
        """Return when the blob is there in its right size."""
        async with self._slots:
            try:
                size = await self._client.head_blob(self._endpoint, repository, blob.digest)
            except (ContentNotFound, HeadRefused):
                # A HEAD is answered without a reason, or not at all.
                async with self._client.open_blob(self._endpoint, repository, blob.digest) as stream:
                    size = stream.size
        if size != blob.size:
            raise Damaged(f"has {size} bytes instead of {blob.size}")

    async def has(self, repository: Repository, blob: Descriptor) -> bool:
        """Whether the blob is there in its right size."""
        async with self._slots:
            try:
                return await self._client.head_blob(self._endpoint, repository, blob.digest) == blob.size
            except ContentNotFound:
                return False

    async def read(self, repository: Repository, blob: Descriptor, advanced: Callable[[int], None]) -> Kept:
        """Return when all of the blob has come and is right; what a cache says of having it."""
        hasher, received = blob.digest.hasher(), 0
        async with self._slots:
            opening = self._client.open_blob(self._endpoint, repository, blob.digest)
            async with opening as stream, aclosing(stream.chunks) as chunks:
                async for chunk in chunks:
                    received += len(chunk)
                    if len(chunk) <= _HASHED_AT_ONCE:
                        hasher.update(chunk)
                    else:
                        await asyncio.to_thread(hasher.update, chunk)
                    advanced(len(chunk))
        if received != blob.size:
            raise Damaged(f"has {received} bytes instead of {blob.size}")
        if not blob.digest.matches(hasher):
            raise Damaged("is damaged")
        return stream.kept
