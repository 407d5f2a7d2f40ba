"""Lists of images as people have them: one name a line, `talosctl images`, `kubectl get pods -o json`.

Names are completed as containerd's CRI and Docker complete them: `alpine` is docker.io/library/alpine:latest.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from registryd.json_text import parse_json
from registryd.notation import DOCKER_HUB
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import (
    DigestedName,
    FullName,
    Reference,
    Registry,
    Repository,
    Tag,
    TaggedName,
    looks_like_host,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
# Encodings of Windows' editors and shells, recognised by the mark at the beginning.
_MARKED: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class ListInvalid(Exception):
    """Not a list of images; the message says where."""


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image as a list names it: by tag, by digest, or by both, and then it is pulled by digest.

    Raises ValueError for a name that has neither.
    """

    repository: Repository
    tag: Tag | None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.tag is None and self.digest is None:
            raise ValueError("an image is named by tag or by digest")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read and complete a name; raises OciError."""
        named, at, digest = text.partition("@")
        head, slash, last = named.rpartition("/")
        name, colon, tag = last.partition(":")
        repository = _repository(f"{head}{slash}{name}")
        if at:
            return cls(repository, Tag(tag) if colon else None, Digest.parse(digest))
        return cls(repository, Tag(tag if colon else "latest"))

    @property
    def reference(self) -> Reference:
        """What it is pulled by: the digest goes before the tag."""
        if self.digest:
            return self.digest
        if self.tag is None:
            raise ValueError("an image is named by tag or by digest")
        return self.tag

    @property
    def pull_name(self) -> FullName:
        """What containerd calls it."""
        if self.digest:
            return DigestedName(self.repository, self.digest)
        if self.tag is None:
            raise ValueError("an image is named by tag or by digest")
        return TaggedName(self.repository, self.tag)

    @property
    def names(self) -> tuple[FullName, ...]:
        """Every name that it is to be found by, the one that it is pulled by first."""
        if self.digest and self.tag:
            return DigestedName(self.repository, self.digest), TaggedName(self.repository, self.tag)
        return (self.pull_name,)

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{self.repository.written}{tag}{digest}"


def decode_list(data: bytes) -> str:
    """The text of a list's file: UTF-8, or UTF-16 by its mark or its zeros. Raises ListInvalid."""
    encoding = next((name for mark, name in _MARKED if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:
        encoding = "utf-16-be" if data.startswith(b"\0") else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ListInvalid(f"not text in UTF-8 or UTF-16: {error.reason} at byte {error.start}") from error


def parse_list(text: str) -> tuple[ImageName, ...]:
    """Every image of a list, each once, sorted. Raises ListInvalid."""
    stripped = text.lstrip()
    names = _of_json(stripped) if stripped.startswith(("{", "[")) else _of_lines(text)
    found = set()
    for where, name in names:
        try:
            found.add(ImageName.parse(name))
        except OciError as error:
            raise ListInvalid(f"{where}: {error}") from error
    return tuple(sorted(found, key=str))


def _repository(name: str) -> Repository:
    host, slash, path = name.partition("/")
    registry = Registry(DOCKER_HUB)
    if slash and looks_like_host(host):
        registry = Registry(host)
    else:
        path = name
    is_official = registry.host == DOCKER_HUB and "/" not in path
    return Repository(registry, f"library/{path}" if is_official else path)


def _of_lines(text: str) -> Iterator[tuple[str, str]]:
    """The first word of a line; a comment begins with #. `talosctl images` prints just that.

    Other columns are left out. Another image is none of them: kubectl's jsonpath prints all in one line.
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if any("/" in word for word in words[1:]):
            raise ListInvalid(f"line {number}: more than one image in a line; put each on a line of its own")
        if words:
            yield f"line {number}", words[0]


def _of_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        document = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ListInvalid(f"not JSON: {error}") from error
    if isinstance(document, list) and all(isinstance(item, str) for item in document):
        yield from ((f"item {number}", item) for number, item in enumerate(document, 1))
        return
    found = list(_images_of_objects(document))
    if not found:
        raise ListInvalid("no containers with images in it")
    yield from found


def _images_of_objects(document: Any) -> Iterator[tuple[str, str]]:
    """Images of the containers of Kubernetes objects, at whatever depth: pods, and templates of pods."""
    waiting: list[Any] = [document]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            for key in _CONTAINERS:
                yield from _images_of_containers(here.get(key))
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here


def _images_of_containers(containers: object) -> Iterable[tuple[str, str]]:
    for container in containers if isinstance(containers, list) else ():
        if isinstance(container, dict) and isinstance(container.get("image"), str) and container["image"]:
            yield f"container {str(container.get('name'))[:80]!r}", container["image"]
