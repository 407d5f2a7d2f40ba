"""OCI image layouts (image-spec, image-layout.md): index.json, which images there are, and by which names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from registryd.json_text import parse_json
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.documents import load_json
from registryd.oci.errors import ManifestInvalid, OciError
from registryd.oci.manifest import parse_descriptor
from registryd.oci.reference import TaggedName, parse_full_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.reference import FullName

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
# Ours, in archives: what is attached to the images, by name, as in index.json. The specification lets a layout hold
# other files, which other programs pass over.
ATTACHED_FILE: Final = "registryd-attached.json"

_HEAD: Final = {"schemaVersion": 2, "mediaType": OCI_INDEX}


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An entry of an index; without a name if it has none, or only a short one without a registry.

    `tag` is the short name: the image's name in a place where registry and repository were clear.
    """

    target: Descriptor
    name: FullName | None = None
    seen_at: float | None = None
    tag: str = field(default="", compare=False)


def is_layout_file(data: bytes) -> bool:
    """Whether this is an oci-layout file, of any version."""
    try:
        document = parse_json(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("imageLayoutVersion"), str)


def parse_index(data: bytes) -> tuple[IndexEntry, ...]:
    """Read an index.json that may be a stranger's; raises ManifestInvalid when it is none, or one entry is wrong."""
    return tuple(map(_entry, _manifests_of(load_json(data))["manifests"]))


def render_index(entries: Iterable[IndexEntry]) -> bytes:
    """A new index.json, the same for the same entries, whatever their order in time."""
    raw = [_raw_entry(entry.name, entry.target, None) for entry in entries]
    return _render(_HEAD, (_text(one) for one in raw))


def entry_text(entry: IndexEntry) -> bytes:
    """An entry as it stands in index.json: one line."""
    return _text(_raw_entry(entry.name, entry.target, entry.seen_at))


class IndexText:
    """An index.json, taken apart into its entries, and put together again: what is not understood stays as it is."""

    def __init__(self, data: bytes) -> None:
        """Raises ManifestInvalid when it is none."""
        document = _load(data)
        self._raw: list[Any] = document.pop("manifests")
        self._head = document

    def entries(self) -> Iterator[tuple[IndexEntry | ManifestInvalid, bytes]]:
        """Every entry, or what is wrong with it, and its text."""
        for raw in self._raw:
            text = _text(raw)
            try:
                yield _entry(raw), text
            except ManifestInvalid as error:
                # A new one: what was raised holds on to its frames, a kilobyte each, for as long as it is kept.
                yield ManifestInvalid(str(error)), text

    def with_entries(self, texts: Iterable[bytes]) -> bytes:
        """The same index.json with these entries in place of its own."""
        return _render(self._head, texts)


def _entry(raw: object) -> IndexEntry:
    annotations = _annotations(raw)
    name, seen_at = _full_name(annotations), _seen_at(annotations.get(SEEN_AT))
    return IndexEntry(parse_descriptor(raw), name, seen_at, "" if name else annotations.get(REF_NAME, ""))


def _full_name(annotations: dict[str, str]) -> FullName | None:
    for key in (NAME, REF_NAME):
        try:
            return parse_full_name(annotations[key])
        except (KeyError, OciError):
            continue
    return None


def _raw_entry(name: FullName | None, target: Descriptor, seen_at: float | None) -> dict[str, Any]:
    annotations = {} if name is None else {NAME: name.written}
    if isinstance(name, TaggedName):
        annotations[REF_NAME] = str(name.tag)
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
    return _manifests_of(document)


def _manifests_of(document: object) -> dict[str, Any]:
    if not isinstance(document, dict) or not isinstance(document.get("manifests"), list):
        raise ManifestInvalid("index.json is not an image index")
    return document


def _text(raw: object) -> bytes:
    try:
        return json.dumps(raw).encode()
    except RecursionError as error:
        raise ManifestInvalid("index.json is nested too deeply") from error


def _render(head: dict[str, Any], texts: Iterable[bytes]) -> bytes:
    """One entry a line: what is put together from texts that are there costs no more than copying them."""
    opening = json.dumps(head).encode()[:-1]
    separator = b", " if head else b""
    return opening + separator + b'"manifests": [\n' + b",\n".join(texts) + b"\n]}\n"
