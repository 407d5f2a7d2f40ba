"""Lists of registries: the referrers of an image, and the tags of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from registryd.oci.documents import load_json
from registryd.oci.errors import ManifestInvalid, TagInvalid
from registryd.oci.reference import Tag
from registryd.oci.referrers import parse_referrers
from registryd.upstream.errors import SomethingElse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yarl import URL

    from registryd.upstream.reply import Reply

MOST_TAG_BYTES: Final = 8 * 1024 * 1024
"""All tags of a repository, which some registries send at once: some 100,000."""


@dataclass(frozen=True, slots=True)
class TagPage:
    """Tags of a repository, and the query that asks for those after them, if there are any."""

    tags: Sequence[str]
    next_query: str = ""


def referrers_in(reply: Reply, data: bytes) -> Sequence[dict[str, Any]]:
    """The entries of a list. Raises SomethingElse."""
    try:
        return parse_referrers(data)
    except ManifestInvalid as error:
        raise SomethingElse(f"{reply.url.origin()}: sends something else than a list of referrers: {error}") from None


def tags_in(reply: Reply, data: bytes) -> TagPage:
    """The valid tags of a list; `null` stands for none, Go's way to write an empty list. Raises SomethingElse."""
    try:
        listed = load_json(data)["tags"] or ()
        tags = [text for text in listed if isinstance(text, str) and _is_tag(text)]
    except (ManifestInvalid, KeyError, TypeError):
        raise SomethingElse(f"{reply.url.origin()}: sends something else than a list of tags") from None
    return TagPage(tags, _query_of(reply.next_page))


def _is_tag(text: str) -> bool:
    try:
        Tag(text)
    except TagInvalid:
        return False
    return True


def _query_of(url: URL | None) -> str:
    """Which part comes next, in the registry's own words; `ns` is not one of them."""
    return urlencode([(name, value) for name, value in url.query.items() if name != "ns"]) if url else ""
