"""Common rules of every question to a cache: which clients may ask, the time limit, and the form of a refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from registryd.caching.absences import AbsentLately
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import BlobUnknown, Denied, ManifestUnknown, NameUnknown, RangeInvalid, Unavailable, about
from registryd.serving.cache_status import no_answer, not_asked, stale_status, upstream_said
from registryd.serving.locating import Unlocated
from registryd.serving.paths import BlobPath, TagsPath
from registryd.upstream.errors import UpstreamDenied, UpstreamFailed, UpstreamMissing

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
        """The result of the search. Raises Unlocated for a refusal, with its reason.

        `reference` is what the policy decides about; `resolves`: the answer says what it means.
        """
        try:
            async with asyncio.timeout(self._seconds):
                refusal = await self._policy.refusal(path.repository, reference, resolves=resolves)
                if refusal is not None:
                    raise Unlocated(_unknown(path, refusal), is_miss=True, cache_status=not_asked(refusal))
                return await search()
        except ContentUnavailable as reason:
            is_miss, status = isinstance(reason, ContentNotFound), _status(reason)
            raise Unlocated(_error(path, reason), is_miss=is_miss, cache_status=status) from reason
        except RangeInvalid as error:
            error.cache_status = "registryd"
            raise
        except TimeoutError as error:
            why = f"no first byte within {self._seconds:g} s"
            late = Unavailable(about(_what(path), why))
            raise Unlocated(late, is_miss=False, cache_status=no_answer(why)) from error


def _error(path: ContentPath | ListPath, reason: ContentUnavailable) -> OciError:
    """The error in the words of the specification: unknown, denied, or unavailable now."""
    if isinstance(reason, ContentNotFound):
        return _unknown(path, str(reason))
    if isinstance(reason, UpstreamDenied):
        return Denied(about(_what(path), str(reason)))
    retry_after = reason.retry_after if isinstance(reason, UpstreamFailed) else None
    return Unavailable(about(_what(path), str(reason)), retry_after=retry_after)


def _unknown(path: ContentPath | ListPath, reason: str) -> OciError:
    text = about(_what(path), reason)
    if isinstance(path, TagsPath):
        return NameUnknown(text)
    return BlobUnknown(text) if isinstance(path, BlobPath) else ManifestUnknown(text)


def _status(reason: ContentUnavailable) -> str:
    """The cache status of this failure: it says whether the cache asked the upstream."""
    match reason:
        case AbsentLately():
            return stale_status(reason.why)
        case UpstreamMissing():
            return upstream_said(404)
        case UpstreamFailed():
            return no_answer(str(reason))
    return not_asked(str(reason))


def _what(path: ContentPath | ListPath) -> str:
    return str(getattr(path, "reference", path))
