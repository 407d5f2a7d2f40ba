"""The paths of the distribution API, pull side, as values (distribution-spec v1.1, "Endpoints").

Every pattern is anchored at both ends: what does not match whole is no path of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from registryd.notation import DOCKER_HUB
from registryd.oci.digest import Digest
from registryd.oci.errors import NameInvalid, NameUnknown, PathUnknown
from registryd.oci.reference import Reference, Registry, Repository, looks_like_host, parse_reference

# Repository names may contain /manifests/ and /blobs/; the last one separates, because no reference has a slash.
_PATH: Final = re.compile(
    r"/v2/(?P<name>.+)/(?:(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)|tags/list)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ApiBase:
    """`/v2/`: does this speak the distribution API?"""


@dataclass(frozen=True, slots=True)
class ManifestPath:
    """A manifest of a repository, by tag or by digest.

    `stays`: the client takes this server for the registry itself, so it asks only this server for the rest of the
    image.
    """

    repository: Repository
    reference: Reference
    stays: bool = False

    def __str__(self) -> str:
        separator = "@" if isinstance(self.reference, Digest) else ":"
        return f"{self.repository}{separator}{self.reference}"


@dataclass(frozen=True, slots=True)
class BlobPath:
    """A blob of a repository."""

    repository: Repository
    reference: Digest

    def __str__(self) -> str:
        return f"{self.repository}@{self.reference}"


@dataclass(frozen=True, slots=True)
class ReferrersPath:
    """The list of what is attached to a manifest: signatures and the like."""

    repository: Repository
    subject: Digest

    def __str__(self) -> str:
        return f"referrers of {self.repository}@{self.subject}"


@dataclass(frozen=True, slots=True)
class TagsPath:
    """The list of a repository's tags."""

    repository: Repository

    def __str__(self) -> str:
        return f"tags of {self.repository}"


ContentPath = ManifestPath | BlobPath
ListPath = ReferrersPath | TagsPath
RegistryPath = ApiBase | ContentPath | ListPath


def parse_path(path: str, *, namespace: str | None, default: Registry | None = None) -> RegistryPath:
    """Read a decoded path; `namespace` is containerd's `ns=`, the registry that the client meant.

    Without it the first component of the name says the registry, if it looks like a host, and otherwise it is
    `default`. Raises PathUnknown, NameInvalid, NameUnknown, DigestInvalid or TagInvalid.
    """
    if path in {"/v2/", "/v2"}:
        return ApiBase()
    match = _PATH.fullmatch(path)
    if match is None:
        raise PathUnknown("registryd serves manifests, blobs and referrers below /v2/<name>/, and tags/list")
    repository = _named(match["name"], default) if namespace is None else _spaced(match["name"], namespace)
    match match["kind"]:
        case "blobs":
            return BlobPath(repository, Digest.parse(match["reference"]))
        case "referrers":
            return ReferrersPath(repository, Digest.parse(match["reference"]))
        case "manifests":
            return ManifestPath(repository, parse_reference(match["reference"]), stays=namespace is None)
    return TagsPath(repository)


def _spaced(name: str, namespace: str) -> Repository:
    """The registry is said apart from the name, and perhaps in it besides: by clients whose mirrors have a path."""
    registry = Registry(namespace)
    host, slash, path = name.partition("/")
    if slash and looks_like_host(host) and _is_called(registry, host):
        return Repository(registry, path)
    return Repository(registry, name)


def _is_called(registry: Registry, host: str) -> bool:
    try:
        return Registry(host) == registry
    except NameInvalid:
        return False


def _named(name: str, default: Registry | None) -> Repository:
    host, slash, path = name.partition("/")
    if slash and looks_like_host(host):
        return _as_people_write(Registry(host), path)
    if default is None:
        raise NameUnknown(
            "which registry? Name it by ?ns=docker.io or as the first component, /v2/docker.io/…; "
            "for clients that can do neither there is the setting registry.default"
        )
    return _as_people_write(default, name)


def _as_people_write(registry: Registry, path: str) -> Repository:
    """Docker Hub's own images are in `library`, which people leave out and no client puts before a name of ours."""
    is_hubs_own = registry.host == DOCKER_HUB and "/" not in path
    return Repository(registry, f"library/{path}" if is_hubs_own else path)
