"""The API server's answers, parsed once: lists, watch events, and the Status objects that explain a refusal.

The answers are JSON of a foreign server: nonsense in them raises ApiFailed, and never another exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired
from registryd.cluster.members.discovery.kubernetes.slices import EndpointSlice, read_slice
from registryd.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

GONE: Final = 410
_MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
# Opaque by contract; today's are numbers of up to 20 digits.
_LONGEST_VERSION: Final = 128
# A continue token is base64 of a key and a version.
_LONGEST_TOKEN: Final = 4096
_LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class SlicePage:
    """A part of a list; `following` names the next part, and is empty in the last one."""

    slices: tuple[EndpointSlice, ...]
    version: str
    following: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A slice is new or has changed."""

    slice: EndpointSlice
    version: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """A slice is gone."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The server's word that no object has changed up to this version."""

    version: str


Event: TypeAlias = Stored | Deleted | Bookmark


def read_page(body: bytes, *, port_name: str) -> SlicePage:
    """Read an EndpointSliceList."""

    def parse(document: Any) -> SlicePage:
        metadata = document["metadata"]
        slices = tuple(read_slice(item, port_name=port_name) for item in document.get("items") or ())
        return SlicePage(slices, _version(metadata), _bounded(metadata.get("continue") or "", _LONGEST_TOKEN))

    return _read(body, parse)


def read_event(line: bytes, *, port_name: str) -> Event:
    """Read one line of a watch; raises VersionExpired or ApiFailed when it is the server's ERROR event."""

    def parse(document: Any) -> Event:
        kind, subject = document["type"], document["object"]
        if kind == "ERROR":
            raise _failure(subject)
        version = _version(subject["metadata"])
        if kind == "BOOKMARK":
            return Bookmark(version)
        if kind == "DELETED":
            return Deleted(_bounded(subject["metadata"]["name"], _LONGEST_REASON * 2), version)
        if kind in {"ADDED", "MODIFIED"}:
            return Stored(read_slice(subject, port_name=port_name), version)
        raise ValueError("an event of unknown type")

    return _read(line, parse)


def explain(body: bytes) -> str:
    """The explanation in a refusal's body, cut to a few words; the body need not be a Status."""
    try:
        return _reason(parse_json(body))
    except _MALFORMED:
        return ""


def _failure(status: Any) -> Exception:
    if status.get("code") == GONE or status.get("reason") in {"Expired", "Gone"}:
        return VersionExpired(_reason(status))
    return ApiFailed(f"the watch ended with an error: {_reason(status)}")


def _reason(status: Any) -> str:
    text = str(status.get("message") or status.get("reason") or "")
    return " ".join(text.split())[:_LONGEST_REASON]


def _version(metadata: Any) -> str:
    version = _bounded(metadata["resourceVersion"], _LONGEST_VERSION)
    if not version:
        raise ValueError("no resourceVersion")
    return version


def _bounded(text: object, longest: int) -> str:
    if not isinstance(text, str) or len(text) > longest:
        raise TypeError("not a text, or too long")
    return text


def _read(text: bytes, parse: Callable[[Any], T]) -> T:
    try:
        return parse(parse_json(text))
    except _MALFORMED as error:
        raise ApiFailed(f"the API server sent what is no answer: {type(error).__name__}") from error
