"""Lists of images as people have them: one name a line, `talosctl images`, `kubectl get pods -o json`.

Names are completed as containerd's CRI and Docker complete them: `alpine` is docker.io/library/alpine:latest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import DOCKER_HUB, Reference, Registry, Repository, Tag, looks_like_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")


class ListInvalid(Exception):
    """Not a list of images; the message says where."""


@dataclass(frozen=True, slots=True, order=True)
class ImageName:
    """An image as it is pulled: by tag, or by digest, which goes before a tag."""

    repository: Repository
    reference: Reference

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read and complete a name; raises OciError."""
        named, _, digest = text.partition("@")
        head, slash, last = named.rpartition("/")
        name, colon, tag = last.partition(":")
        repository = _repository(f"{head}{slash}{name}")
        if digest:
            return cls(repository, Digest.parse(digest))
        return cls(repository, Tag(tag if colon else "latest"))

    def __str__(self) -> str:
        return f"{self.repository}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"


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
        registry = Registry.parse(host)
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
        document = json.loads(text)
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
