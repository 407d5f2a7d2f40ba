"""The settings of `registryd cache`: what it keeps, and the upstreams that it keeps content of.

As in `registryd.config.agent`: a field's text is its `--help`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from registryd.config.bandwidth import LEAST_RATE
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
    """What a pull-through cache keeps, and whom it answers."""

    listen: Address = CACHE_ADDRESS
    """Where clients' requests are answered. All interfaces, because a cache is for other machines; what it gives them
    is decided by `authorization`."""

    token_file: Path | None = None
    """File with a token that every request must carry, as hosts.toml can. Empty: none is asked for."""

    tls_cert: Path | None = None
    """Certificate and its intermediates (PEM), to be asked over HTTPS. Empty: plain HTTP."""

    tls_key: Path | None = None
    """Its private key (PEM, not encrypted)."""

    insecure: bool = False
    """Let anyone who reaches the cache have what its credentials open. Otherwise such registries need a token, mode
    public, or a cache on loopback."""

    member: bool = False
    """Be a member of the cluster besides, by the settings of peers and discovery: peers are given what is stored here,
    by digest, as an agent gives it. Nothing is fetched for them."""

    first_byte_timeout: Seconds = 20.0
    """How long a request may wait for its first byte. Longer than an agent's, for behind a cache there may be no other
    endpoint; shorter than the 30 s after which containerd 2.3 gives up."""

    tags: TagMode = TagMode.CHECK
    """check: ask the upstream what a tag means whenever it is pulled (HEAD, which costs no pull). trust: believe the
    last answer for cache.trust_for. digests: leave tags to the next endpoint. The default is never out of date."""

    trust_for: Seconds = 300.0
    """trust: how long an answer is believed. Five minutes: a fleet that rolls out together asks once."""

    size_limit: ByteCount = 0
    """Most bytes to keep; what was not used for longest goes first. 0B: as much as cache.keep_free leaves."""

    keep_free: ByteCount = 1 << 30
    """Bytes to leave free on the file system, so that a cache does not fill a disk that others use too."""

    max_origin_rate: ByteCount = 0
    """Bytes a second for all that this cache takes from registries together; 0B: no limit. Clients that it answers at
    the same time get what is stored as quickly as ever."""

    min_age: Seconds = 600.0
    """Content that came or was read more recently is not removed: the pull that it belongs to may not be over."""

    pinned: tuple[str, ...] = ()
    """Images that are never removed: patterns of registry/repository:tag, such as registry.k8s.io/*."""

    def __post_init__(self) -> None:
        if not self.first_byte_timeout > 0:
            raise SettingsError("cache.first_byte_timeout", "must be more than 0")
        if 0 < self.max_origin_rate < LEAST_RATE:
            raise SettingsError("cache.max_origin_rate", "must be 1MiB or more, or 0B for no limit")
        if bool(self.tls_cert) != bool(self.tls_key):
            given = "cache.tls_cert" if self.tls_cert else "cache.tls_key"
            raise SettingsError(given, "give tls_cert and tls_key together, or neither of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUpstream:
    """Where one registry's content comes from: a table [upstreams.registries."docker.io"]."""

    url: str = ""
    """Where it is asked. Empty: its own address. https://harbor.example/v2/proxy-docker.io with override_path."""

    override_path: bool = False
    """Repositories are below the path of the URL as it is; otherwise /v2 is appended, as containerd does."""

    plain_http: bool = False
    """Without a URL: its own address, by plain HTTP."""

    mirrors: tuple[str, ...] = ()
    """URLs that are asked before, in this order. A mirror is trusted with pulls, and given no credentials."""

    leads_to: tuple[str, ...] = ()
    """Servers that its redirects and token servers may be at although they are on this machine or link:
    127.0.0.1:9000. With http:// before it, also by plain HTTP."""

    username: str = ""
    """User name for the URL."""

    password_file: Path | None = None
    """File with the password or access token that goes with it; read anew when it changes."""

    ca: Path | None = None
    """Authorities (PEM) to trust besides the system's."""

    client_cert: Path | None = None
    """Certificate (PEM) to show to the URL."""

    client_key: Path | None = None
    """Its private key."""

    tags: TagMode | None = None
    """When to ask what a tag means; empty: as cache.tags."""

    trust_for: Seconds | None = None
    """How long an answer is believed; empty: as cache.trust_for."""

    def __post_init__(self) -> None:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("give username and password_file together")
        if self.url and self.plain_http:
            raise ValueError("plain_http is for a registry without url; write http:// in the URL")


@dataclass(frozen=True, slots=True)
class UpstreamsSettings:
    """Which registries a cache fetches from, and how it reaches them."""

    allow: tuple[str, ...] = _ALLOWED
    """Registries that may be asked, besides those with a table; * is any that a client names, as on a cache that only
    friends reach."""

    docker_config: Path | None = None
    """A config.json of Docker's, with credentials and credential helpers, used for registries without a username."""

    registries: Mapping[str, RegistryUpstream] = field(default_factory=dict)
    """How single registries are reached: tables [upstreams.registries."HOST"] with url, override_path, plain_http,
    mirrors, leads_to, username, password_file, ca, client_cert, client_key, tags, trust_for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "registries", MappingProxyType(dict(self.registries)))
        for key, names in (("allow", set(self.allow) - {"*"}), ("registries", self.registries)):
            for name in names:
                if not is_registry(name):
                    raise SettingsError(f"upstreams.{key}", f"{name[:80]!r} is not a registry: host or host:port")
