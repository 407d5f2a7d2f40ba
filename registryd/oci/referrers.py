"""The referrers of an image: signatures, attestations, bills of material.

Their list is an index. The referrers API gives it for a subject, and registries without this API keep it under a tag
that follows from the subject's digest (distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema"). Before
that, cosign kept each under a tag of its own.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from registryd.json_text import parse_json
from registryd.oci.descriptor import INDEX_TYPES, OCI_INDEX
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid, ManifestInvalid, TagInvalid
from registryd.oci.manifest import parse_manifest
from registryd.oci.reference import Tag, TaggedName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.reference import FullName

# "Referrers Tag Schema": no more than so many characters of a digest's two parts.
_LONGEST_ALGORITHM: Final = 32
_LONGEST_ENCODED: Final = 64
_TAG: Final = re.compile(r"sha(?:256|512)-[0-9a-f]{64}", re.ASCII)
# cosign 1 and 2: signature, attestation, bill of material.
_SUFFIXES: Final = (".sig", ".att", ".sbom")
_ATTACHED_TAG: Final = re.compile(r"sha256-[0-9a-f]{64}\.(?:sig|att|sbom)", re.ASCII)


def referrers_tag(subject: Digest) -> Tag:
    """The tag of the list of what is attached to the subject."""
    return Tag(f"{subject.algorithm[:_LONGEST_ALGORITHM]}-{subject.encoded[:_LONGEST_ENCODED]}")


def subject_of(tag: Tag) -> Digest | None:
    """The subject of a referrer with this tag; None if the tag does not name it in full."""
    algorithm, dash, encoded = tag.name.partition("-")
    try:
        return Digest(algorithm, encoded.partition(".")[0]) if dash else None
    except DigestInvalid:
        return None


def is_referrers_tag(tag: Tag) -> bool:
    """Whether this is the tag of a list of referrers, of any subject."""
    return _TAG.fullmatch(tag.name) is not None


def is_attached_tag(tag: Tag) -> bool:
    """Whether it is no image's own, but of such a list or of something that is attached to an image."""
    return is_referrers_tag(tag) or _ATTACHED_TAG.fullmatch(tag.name) is not None


def is_attached_name(name: FullName | None) -> TypeGuard[TaggedName]:
    """The same of a name; what has none, or only a digest, is not attached by it."""
    return isinstance(name, TaggedName) and is_attached_tag(name.tag)


def attached_tags(subject: Digest) -> Iterator[Tag]:
    """The tags of single things that are attached to the subject."""
    for suffix in _SUFFIXES:
        try:
            yield Tag(f"{subject.algorithm}-{subject.encoded}{suffix}")
        except TagInvalid:  # of a SHA-512: it is too long for a tag
            return


def render_referrers(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """The list, the same for the same entries in whatever order; each digest once."""
    by_digest = {str(entry.get("digest")): entry for entry in entries}
    manifests = [by_digest[digest] for digest in sorted(by_digest)]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def parse_referrers(data: bytes) -> Sequence[dict[str, Any]]:
    """The entries of a list; raises ManifestInvalid when it is none."""
    if parse_manifest(data).media_type not in INDEX_TYPES:
        raise ManifestInvalid("a list of referrers is an index")
    entries: Sequence[dict[str, Any]] = parse_json(data)["manifests"]
    return entries


def referrer_entry(target: Descriptor, document: bytes) -> dict[str, Any]:
    """A list's entry for a manifest that names its subject (image-spec, "descriptor.md", artifactType)."""
    raw = parse_json(document)
    config = raw.get("config")
    kind = raw.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    entry: dict[str, Any] = {"mediaType": target.media_type, "digest": str(target.digest), "size": target.size}
    if isinstance(kind, str):
        entry["artifactType"] = kind
    if isinstance(annotations := raw.get("annotations"), dict):
        entry["annotations"] = annotations
    return entry


EMPTY: Final = render_referrers(())
"""The list of what has nothing attached."""
