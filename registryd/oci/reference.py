"""Names of images: registry, repository, tag or digest (distribution-spec, "Pulling manifests").

The grammar of repository and tag is the specification's; the grammar of a registry host, and which first path
component is one, is containerd's and Docker's (`distribution/reference`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self

from registryd.notation import DOCKER_HUB, LONGEST_NAME, canonical_registry
from registryd.oci.digest import Digest
from registryd.oci.errors import NameInvalid, TagInvalid

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Registry:
    """A registry, `docker.io` or `registry.example:5000`: one name, however it is written.

    `host` is in lower case, without the port that is meant anyway, zeros before a port, or a dot at the end; an IPv6
    address is in its shortest form, and Docker Hub has one of its names. `written` is how it was written, after which
    containerd's folders and the `ns` of its requests are called; it makes no difference between two of them.

    Raises NameInvalid when it is not a host with an optional port.
    """

    host: str
    written: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        try:
            host = _canonical(self.host)
        except ValueError as error:
            raise NameInvalid(f"{self.host[:100]!r} is not a registry: expected host or host:port") from error
        object.__setattr__(self, "written", DOCKER_HUB if host == DOCKER_HUB else self.written or self.host)
        object.__setattr__(self, "host", host)

    @property
    def hostname(self) -> str:
        """The host without its port and without brackets, as containerd's labels have it."""
        host, bracket, _ = self.host.partition("]")
        return host.removeprefix("[") if bracket else host.partition(":")[0]

    @property
    def has_port(self) -> bool:
        """Whether it has a port of its own, which is not that of HTTPS."""
        return ":" in self.host.rpartition("]")[2]

    def __str__(self) -> str:
        return self.host


# A node has some tens, in every request and in the labels of all content.
_canonical: Final = lru_cache(maxsize=1024)(canonical_registry)


def looks_like_host(component: str) -> bool:
    """Whether a first path component names a registry and not part of a repository.

    The rule of distribution/reference: it has a dot or a colon, or is `localhost`.
    """
    return "." in component or ":" in component or component == "localhost"


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository of a registry: `docker.io` and `library/alpine`.

    Raises NameInvalid when the path is not a repository name.
    """

    registry: Registry
    path: str

    def __post_init__(self) -> None:
        if len(self.registry.host) + 1 + len(self.path) > LONGEST_NAME or not _REPOSITORY.fullmatch(self.path):
            raise NameInvalid(f"{self.path[:100]!r} is not a repository name: lower-case components joined by '/'")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `registry/repository`; raises NameInvalid."""
        host, _, path = text.partition("/")
        return cls(Registry(host), path)

    @property
    def written(self) -> str:
        """As containerd calls it: with the registry as it was written."""
        return f"{self.registry.written}/{self.path}"

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag; raises TagInvalid when it is none."""

    name: str

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.name):
            raise TagInvalid(f"{self.name[:100]!r} is not a tag: up to 128 of letters, digits, '_', '.', '-'")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class TaggedName:
    """`registry/repository:tag`: what containerd calls the image's name when it was pulled by tag."""

    repository: Repository
    tag: Tag

    @property
    def written(self) -> str:
        """As containerd calls it: with the registry as it was written."""
        return f"{self.repository.written}:{self.tag}"

    @property
    def reference(self) -> Tag:
        return self.tag

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a full image name as containerd stores it; raises NameInvalid or TagInvalid.

        Names without a registry or a tag are not guessed at: containerd and OCI layouts store full ones.
        """
        host, slash, rest = text.partition("/")
        path, colon, tag = rest.partition(":")
        if not slash or not colon or not looks_like_host(host):
            raise NameInvalid(f"{text[:100]!r} is not a full image name: expected registry/repository:tag")
        return cls(Repository(Registry(host), path), Tag(tag))


@dataclass(frozen=True, slots=True, order=True)
class DigestedName:
    """`registry/repository@digest`: what containerd calls an image that was pulled by digest."""

    repository: Repository
    digest: Digest

    @property
    def written(self) -> str:
        """As containerd calls it: with the registry as it was written."""
        return f"{self.repository.written}@{self.digest}"

    @property
    def reference(self) -> Digest:
        return self.digest

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a full image name as containerd stores it; raises NameInvalid or DigestInvalid."""
        name, at, digest = text.partition("@")
        host, slash, path = name.partition("/")
        if not at or not slash or ":" in path or not looks_like_host(host):
            raise NameInvalid(f"{text[:100]!r} is not a full image name: expected registry/repository@digest")
        return cls(Repository(Registry(host), path), Digest.parse(digest))


FullName = TaggedName | DigestedName
"""What an image is called: by a tag, which may mean another image one day, or by what it is."""


def parse_full_name(text: str) -> FullName:
    """Read a full image name of either kind; raises NameInvalid, TagInvalid or DigestInvalid.

    A digest goes before a tag: nerdctl and ctr keep names that have both.
    """
    named, at, digest = text.partition("@")
    if not at:
        return TaggedName.parse(text)
    head, slash, last = named.rpartition("/")
    return DigestedName.parse(f"{head}{slash}{last.partition(':')[0]}@{digest}")


Reference = Tag | Digest
"""What stands behind `/manifests/`."""


def parse_reference(text: str) -> Reference:
    """Read a tag or a digest; only a digest has a colon. Raises DigestInvalid or TagInvalid."""
    if "@" in text:
        raise TagInvalid(f"{text[:200]!r} is both a tag and a digest: ask for one of them, the digest says more")
    return Digest.parse(text) if ":" in text else Tag(text)
