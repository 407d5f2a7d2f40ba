"""OCI image layouts (image-spec, image-layout.md): index.json, which images there are, and by which names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.errors import ManifestInvalid, OciError
from registryd.oci.manifest import parse_descriptor
from registryd.oci.reference import TaggedName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest

# containerd and Docker keep an image's full name here ...
NAME: Final = "io.containerd.image.name"
# ... and its tag here, where skopeo and others keep whatever the image was called when the layout was made.
REF_NAME: Final = "org.opencontainers.image.ref.name"
# When the name came to mean this, RFC 3339. Ours: no annotation of the specification says it, `created` being the
# time when the image was built. Layouts of other tools lack it; the time of index.json stands in.
SEEN_AT: Final = "io.github.registryd.seen-at"

LAYOUT_FILE: Final = "oci-layout"
LAYOUT: Final = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
INDEX_FILE: Final = "index.json"
BLOBS_FOLDER: Final = "blobs"


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index refers to; without a name if it has none, or only a short one that says no registry."""

    target: Descriptor
    name: TaggedName | None = None
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class LayoutIndex:
    """An index.json as it was understood: the entries that are right, and what is wrong with the others."""

    entries: tuple[Entry, ...] = ()
    wrong: tuple[ManifestInvalid, ...] = ()


def is_layout_file(data: bytes) -> bool:
    """Whether this is an oci-layout file, of whatever version."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("imageLayoutVersion"), str)


def parse_index(data: bytes) -> LayoutIndex:
    """Read index.json; raises ManifestInvalid when it is none."""
    entries, wrong = [], []
    for raw in _load(data)["manifests"]:
        try:
            entries.append(_entry(raw))
        except ManifestInvalid as error:
            wrong.append(error)
    return LayoutIndex(tuple(entries), tuple(wrong))


def with_names(data: bytes, targets: Mapping[TaggedName, Descriptor], *, seen_at: float | None) -> bytes:
    """The same index.json, with these names meaning these targets; raises ManifestInvalid.

    Entries that had one of the names go; everything else, understood or not, stays as it is. Without `seen_at`
    nothing in the result depends on the time.
    """
    document = _load(data)
    kept = [raw for raw in document["manifests"] if full_name(raw) not in targets]
    document["manifests"] = kept + [_raw_entry(name, targets[name], seen_at) for name in sorted(targets)]
    return _dump(document)


def without_targets(data: bytes, gone: Collection[Digest]) -> bytes:
    """The same index.json without the entries for these digests; raises ManifestInvalid."""
    document = _load(data)
    texts = {str(digest) for digest in gone}
    document["manifests"] = [
        raw for raw in document["manifests"] if not isinstance(raw, dict) or raw.get("digest") not in texts
    ]
    return _dump(document)


def render_index(entries: Iterable[Entry]) -> bytes:
    """A new index.json, the same for the same entries, whatever their times."""
    raw = [_raw_entry(entry.name, entry.target, None) for entry in entries]
    return _dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": raw})


def full_name(raw: object) -> TaggedName | None:
    """The full name that an entry gives its target."""
    annotations = _annotations(raw)
    for key in (NAME, REF_NAME):
        try:
            return TaggedName.parse(annotations[key])
        except (KeyError, OciError):
            continue
    return None


def _entry(raw: object) -> Entry:
    return Entry(parse_descriptor(raw), full_name(raw), _seen_at(_annotations(raw).get(SEEN_AT)))


def _raw_entry(name: TaggedName | None, target: Descriptor, seen_at: float | None) -> dict[str, Any]:
    annotations = {} if name is None else {NAME: str(name), REF_NAME: str(name.tag)}
    if seen_at is not None:
        annotations[SEEN_AT] = datetime.fromtimestamp(seen_at, UTC).isoformat()
    raw: dict[str, Any] = {"mediaType": target.media_type, "digest": str(target.digest), "size": target.size}
    return {**raw, "annotations": annotations} if annotations else raw


def _seen_at(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _annotations(raw: object) -> dict[str, str]:
    annotations = raw.get("annotations") if isinstance(raw, dict) else None
    if not isinstance(annotations, dict):
        return {}
    return {key: value for key, value in annotations.items() if isinstance(value, str)}


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("index.json is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("manifests"), list):
        raise ManifestInvalid("index.json is not an image index")
    return document


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
