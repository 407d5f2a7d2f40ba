"""What every question to a cache has in common: who may ask, for how long, and how a refusal is put."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import BlobUnknown, Denied, ManifestUnknown, Unavailable
from registryd.serving.locating import Unlocated
from registryd.serving.paths import BlobPath
from registryd.upstream.errors import UpstreamDenied, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.caching.policy import CachePolicy
    from registryd.oci.errors import OciError
    from registryd.oci.reference import Reference
    from registryd.serving.paths import ContentPath, ListPath

T = TypeVar("T")


class Bounds:
    """Answers within so many seconds, the policy included."""

    def __init__(self, policy: CachePolicy, *, seconds: float) -> None:
        self._policy = policy
        self._seconds = seconds

    async def answer(
        self, path: ContentPath | ListPath, reference: Reference, search: Callable[[], Awaitable[T]], *, resolves: bool
    ) -> T:
        """What the search gives. Raises Unlocated for what is not given, with the reason that it has.

        `reference` is what the policy decides about; `resolves`: the answer says what it means.
        """
        try:
            async with asyncio.timeout(self._seconds):
                refusal = await self._policy.refusal(path.repository, reference, resolves=resolves)
                if refusal is not None:
                    raise Unlocated(_unknown(path, refusal), is_miss=True)
                return await search()
        except ContentUnavailable as reason:
            raise Unlocated(_error(path, reason), is_miss=isinstance(reason, ContentNotFound)) from reason
        except TimeoutError as error:
            late = Unavailable(f"{_what(path)}: no first byte within {self._seconds:g} s")
            raise Unlocated(late, is_miss=False) from error


def _error(path: ContentPath | ListPath, reason: ContentUnavailable) -> OciError:
    """In the words of the specification: there is none, we may not have it, or it cannot be asked now."""
    if isinstance(reason, ContentNotFound):
        return _unknown(path, str(reason))
    if isinstance(reason, UpstreamDenied):
        return Denied(f"{_what(path)}: {reason}")
    retry_after = reason.retry_after if isinstance(reason, UpstreamFailed) else None
    return Unavailable(f"{_what(path)}: {reason}", retry_after=retry_after)


def _unknown(path: ContentPath | ListPath, reason: str) -> OciError:
    kind = BlobUnknown if isinstance(path, BlobPath) else ManifestUnknown
    return kind(f"{_what(path)}: {reason}")


def _what(path: ContentPath | ListPath) -> str:
    return str(getattr(path, "reference", path))
