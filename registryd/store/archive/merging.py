"""Lists of referrers that come into a store with lists of its own: entries of the store's lists stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from registryd.content.reading import read_content
from registryd.content.source import ContentSource, ContentUnavailable, NameSource
from registryd.content.writer import ContentWriter
from registryd.oci.descriptor import OCI_INDEX, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.reference import TaggedName
from registryd.oci.referrers import is_referrers_tag, parse_referrers, referrer_entry, render_referrers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.oci.reference import FullName


class Target(ContentSource, NameSource, ContentWriter, Protocol):
    """A store of content and names, to be added to."""


async def put_lists(store: Target, lists: Mapping[TaggedName, Sequence[Descriptor]]) -> dict[FullName, Descriptor]:
    """Put the lists into the store, which has what they list; what it knew besides is kept. Raises as it does."""
    named: dict[FullName, Descriptor] = {}
    for name, attached in lists.items():
        entries = [*await _known(store, name), *[await _entry(store, each) for each in attached]]
        named[name] = await _put(store, render_referrers(entries))
    return named


async def merge_lists(store: Target, images: Mapping[FullName, Descriptor]) -> dict[FullName, Descriptor]:
    """The names whose lists lack something of the store's own, with a list of both. Raises as the store does.

    The store has the content of the archive's lists by now, but not yet their names.
    """
    merged: dict[FullName, Descriptor] = {}
    for name, target in images.items():
        if isinstance(name, TaggedName) and is_referrers_tag(name.tag) and (known := await _known(store, name)):
            coming = await _entries(store, target.digest)
            data = render_referrers([*known, *coming])
            has_more = {entry["digest"] for entry in known} - {entry["digest"] for entry in coming}
            if coming and has_more and len(data) <= MAX_MANIFEST_SIZE:
                merged[name] = await _put(store, data)
    return merged


async def _entries(store: Target, digest: Digest) -> Sequence[dict[str, Any]]:
    try:
        return parse_referrers(await _read(store, digest))
    except (ContentUnavailable, ManifestInvalid):
        return ()


async def _known(store: Target, name: TaggedName) -> Sequence[dict[str, Any]]:
    """The entries that the store has under the latest meaning of the name."""
    known = await store.resolve(name)
    latest = max(known, key=lambda meaning: meaning.seen_at, default=None)
    return await _entries(store, latest.target.digest) if latest else ()


async def _entry(store: Target, target: Descriptor) -> dict[str, Any]:
    return referrer_entry(target, await _read(store, target.digest))


async def _read(store: Target, digest: Digest) -> bytes:
    return await read_content(store, digest, limit=MAX_MANIFEST_SIZE)


async def _put(store: Target, data: bytes) -> Descriptor:
    digest = Digest.of(data)
    ingest = await store.begin(digest, size=len(data))
    try:
        await ingest.write(data)
        await ingest.commit()
    finally:
        await ingest.aclose()
    return Descriptor(OCI_INDEX, digest, len(data))
