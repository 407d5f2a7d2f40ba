"""The settings of `registryd cache`: what it keeps, and the upstreams that it keeps content of.

As in `registryd.config.agent`: a field's text is its `--help`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from registryd.config.bandwidth import LEAST_RATE
from registryd.config.name_patterns import require_patterns
from registryd.failures import SettingsError
from registryd.notation import Address, ByteCount, Seconds, is_registry

CACHE_ADDRESS = Address("0.0.0.0", 3172)  # noqa: S104 - a cache is for other machines

# The four of the pull-through guide, and quay.io, where much of what clusters run is.
_ALLOWED = ("docker.io", "registry.k8s.io", "gcr.io", "ghcr.io", "quay.io")


class TagMode(StrEnum):
    """When the upstream is asked what a tag means."""

    CHECK = "check"
    TRUST = "trust"
    DIGESTS = "digests"


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a pull-through cache keeps, and which clients it answers."""

    listen: Address = CACHE_ADDRESS
    """Address at which the cache answers clients. All interfaces, because a cache is for other machines. The
    `authorization` settings decide what the cache gives to them."""

    token_file: Path | None = None
    """File with a token that every request must carry; hosts.toml can send it. Empty: the cache asks for no token."""

    tls_cert: Path | None = None
    """Certificate and its intermediates (PEM): the cache answers over HTTPS. Empty: plain HTTP."""

    tls_key: Path | None = None
    """Private key of cache.tls_cert (PEM, not encrypted)."""

    insecure: bool = False
    """Anyone who reaches the cache may have the images that its credentials open. Without this setting, registries with
    credentials need a token, authorization mode public, or a cache on loopback."""

    member: bool = False
    """The cache is also a member of the cluster, by the settings of peers and discovery. It gives peers the content
    that it stores, by digest, as an agent does. It fetches nothing for peers."""

    first_byte_timeout: Seconds = 20.0
    """How long a request may wait for its first byte. The default is longer than an agent's, because behind a cache
    there may be no other endpoint, and shorter than the 30 s after which containerd 2.3 gives up."""

    tags: TagMode = TagMode.CHECK
    """How the cache resolves a tag. check: the cache asks the upstream at every pull (HEAD, which costs no pull).
    trust: the cache uses the last answer for cache.trust_for. digests: the cache leaves tags to the next endpoint. The
    default is never out of date."""

    trust_for: Seconds = 300.0
    """trust: how long the cache uses an answer. With five minutes, a fleet that rolls out together asks once."""

    size_limit: ByteCount = 0
    """Largest size of the store, in bytes. Content whose last use is longest ago is removed first. 0B: the store grows
    until only cache.keep_free is left."""

    keep_free: ByteCount = 1 << 30
    """Bytes that stay free on the file system, so that a cache does not fill a disk that other programs use too."""

    max_origin_rate: ByteCount = 0
    """Bytes a second that this cache takes from all registries together. 0B: no limit. Content that is stored is not
    slowed down."""

    min_age: Seconds = 600.0
    """Content that was stored or read more recently than this is not removed: its pull may still be running."""

    pinned: tuple[str, ...] = ()
    """Images that the cache never removes: patterns of registry/repository:tag, such as registry.k8s.io/*."""

    def __post_init__(self) -> None:
        if not self.first_byte_timeout > 0:
            raise SettingsError("cache.first_byte_timeout", "must be more than 0")
        if 0 < self.max_origin_rate < LEAST_RATE:
            raise SettingsError("cache.max_origin_rate", "must be 1MiB or more, or 0B for no limit")
        if bool(self.tls_cert) != bool(self.tls_key):
            given = "cache.tls_cert" if self.tls_cert else "cache.tls_key"
            raise SettingsError(given, "give tls_cert and tls_key together, or neither of them")
        require_patterns("cache.pinned", self.pinned)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUpstream:
    """Where one registry's content comes from: a table [upstreams.registries."docker.io"]."""

    url: str = ""
    """URL of the registry. Empty: the registry's own address. https://harbor.example/v2/proxy-docker.io with
    override_path."""

    override_path: bool = False
    """Repositories are directly below the path of the URL. Otherwise /v2 is appended, as containerd does."""

    plain_http: bool = False
    """Without a URL: the registry's own address is asked by plain HTTP."""

    mirrors: tuple[str, ...] = ()
    """URLs that the cache asks before the registry, in this order. The cache believes a mirror's answers, and sends it
    no credentials."""

    leads_to: tuple[str, ...] = ()
    """Servers on this machine or link that the registry's redirects and token servers may name: 127.0.0.1:9000. With
    http:// before the server, also by plain HTTP."""

    username: str = ""
    """User name for the URL."""

    password_file: Path | None = None
    """File with the password or access token of the user. The cache reads the file again when it changes."""

    ca: Path | None = None
    """Authorities (PEM) that the cache trusts in addition to the system's."""

    client_cert: Path | None = None
    """Certificate (PEM) that the cache shows to the URL."""

    client_key: Path | None = None
    """Private key of the client certificate."""

    tags: TagMode | None = None
    """How the cache resolves this registry's tags. Empty: as cache.tags."""

    trust_for: Seconds | None = None
    """How long the cache uses an answer about a tag. Empty: as cache.trust_for."""

    def __post_init__(self) -> None:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("give username and password_file together")
        if self.url and self.plain_http:
            raise ValueError("plain_http is for a registry without url; write http:// in the URL")


@dataclass(frozen=True, slots=True)
class UpstreamsSettings:
    """The registries that a cache fetches from, and how it reaches them."""

    allow: tuple[str, ...] = _ALLOWED
    """Registries that the cache may ask, in addition to those with a table. *: every registry that a client names, for
    a cache that only trusted clients reach."""

    docker_config: Path | None = None
    """Docker's config.json, with credentials and credential helpers, for registries without a username."""

    registries: Mapping[str, RegistryUpstream] = field(default_factory=dict)
    """How the cache reaches single registries: tables [upstreams.registries."HOST"] with url, override_path,
    plain_http, mirrors, leads_to, username, password_file, ca, client_cert, client_key, tags, trust_for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "registries", MappingProxyType(dict(self.registries)))
        for key, names in (("allow", set(self.allow) - {"*"}), ("registries", self.registries)):
            for name in names:
                if not is_registry(name):
                    raise SettingsError(f"upstreams.{key}", f"{name[:80]!r} is not a registry: host or host:port")
