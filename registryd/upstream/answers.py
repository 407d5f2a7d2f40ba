"""An upstream's answers, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from registryd.oci.descriptor import is_media_type
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.upstream.errors import RateLimit, SomethingElse, UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.upstream.reply import Reply

# The statement of a registryd cache about a preference (`Prefer: whole`, RFC 7240).
_WHOLE: Final = re.compile(r"whole; pieces=(?P<pieces>[0-9]{1,9}); bytes=(?P<size>[0-9]{1,18})", re.ASCII)
# RFC 9211: a list of caches, the last of which answered, each with parameters; only the words matter here.
_CACHE_WORDS: Final = re.compile(r"[a-z=-]+")
_CONTENT_RANGE: Final = re.compile(r"bytes (?P<start>[0-9]{1,18})-[0-9]{1,18}/(?P<size>[0-9]{1,18}|\*)", re.ASCII)
# Types that load balancers and captive portals send in place of the requested content.
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})


class Kept(Enum):
    """A cache's statement about an answer: the content was there, it is there now, or no statement."""

    HIT = "hit"
    STORED = "stored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StoredWhole:
    """The cache that gave a manifest has all its content: so many pieces of content and bytes."""

    pieces: int
    size: int


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """The answer to a HEAD of a manifest; missing or malformed fields are None.

    `is_unchanged`: the manifest is still the known one, and the answer says no more about it (304).
    """

    media_type: str | None
    digest: Digest | None
    size: int | None
    rate_limit: RateLimit = field(default_factory=RateLimit)
    is_unchanged: bool = False


@dataclass(frozen=True, slots=True)
class ManifestBytes:
    """A manifest as it was sent, with the digest of its bytes."""

    media_type: str | None
    digest: Digest
    data: bytes
    rate_limit: RateLimit = field(default_factory=RateLimit)
    kept: Kept = Kept.UNKNOWN
    whole: StoredWhole | None = None


@dataclass(frozen=True, slots=True)
class BlobStream:
    """A blob that arrives: of `size` bytes, from `start` on, which is 0 when the server does not do ranges.

    `size` is as the server says it, and may be more than was expected where that was allowed. It is None when the
    server does not say it, as proxies and clouds in front of registries do not. The stream is not verified: a reader
    that reads to the end compares the digest. `chunks` raises UpstreamFailed.
    """

    size: int | None
    start: int
    chunks: AsyncGenerator[bytes, None]
    kept: Kept = Kept.UNKNOWN


def media_type_of(reply: Reply) -> str | None:
    """The media type without parameters; None when there is none."""
    text = (reply.header("Content-Type") or "").partition(";")[0].strip()
    return text if is_media_type(text) else None


def digest_of(reply: Reply) -> Digest | None:
    """The digest that the registry states; None when there is none."""
    try:
        return Digest.parse(reply.header("Docker-Content-Digest") or "")
    except DigestInvalid:
        return None


def length_of(reply: Reply) -> int | None:
    """The length of the body in bytes; None when it is not stated."""
    text = reply.header("Content-Length") or ""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else None


def kept_of(reply: Reply) -> Kept:
    """The statement of Cache-Status (RFC 9211)."""
    words = _CACHE_WORDS.findall((reply.header("Cache-Status") or "").rpartition(",")[2].lower())
    if "hit" in words:
        return Kept.HIT
    return Kept.STORED if "stored" in words else Kept.UNKNOWN


def whole_of(reply: Reply) -> StoredWhole | None:
    """Whether the preference for an image as a whole was heeded."""
    found = _WHOLE.fullmatch(reply.header("Preference-Applied") or "")
    return StoredWhole(int(found["pieces"]), int(found["size"])) if found else None


def blob_stream_of(reply: Reply, start: int, expected: int | None, *, may_be_longer: bool = False) -> BlobStream:
    """The body of a 200 or a 206 that was asked for from `start` on, of content that should have `expected` bytes.

    Raises UpstreamBroken; SomethingElse when it is not that content: of another size, or not even `may_be_longer`.
    """
    if reply.status == 200:  # noqa: PLR2004 - HTTP's own name of its status
        size, begins = length_of(reply), 0
    else:
        found = _CONTENT_RANGE.fullmatch(reply.header("Content-Range") or "")
        if found is None or int(found["start"]) != start:
            raise UpstreamBroken(f"{reply.url.origin()}: does not say which bytes it sends")
        size, begins = None if found["size"] == "*" else int(found["size"]), start
    is_longer = may_be_longer and size is not None and expected is not None and size > expected
    if expected is not None and size not in {None, expected} and not is_longer:
        raise SomethingElse(f"{reply.url.origin()}: sends {size} bytes instead of {expected}")
    if media_type_of(reply) in _PAGES and (size is None or size != expected):
        raise SomethingElse(f"{reply.url.origin()}: sends a page instead")
    return BlobStream(size, begins, reply.chunks(), kept_of(reply))
