"""Which registries a cache may ask, and where, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from registryd.config.cache import RegistryUpstream, TagMode
from registryd.failures import SettingsError
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry
from registryd.plain_file import read_plain
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint, default_endpoints
from registryd.upstream.errors import UpstreamDenied
from registryd.upstream.trust import TlsTrust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.config.cache import CacheSettings, UpstreamsSettings
    from registryd.oci.reference import Repository
    from registryd.upstream.credentials import Login
    from registryd.upstream.docker_config import DockerConfig

_NOTHING_SAID = RegistryUpstream()
# A password has tens of bytes, a token some thousand.
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TagRule:
    """When a registry is asked what a tag means; `trust_seconds` is for mode trust."""

    mode: TagMode
    trust_seconds: float


class Registries:
    """The allow-list, and how each registry on it is reached."""

    def __init__(self, upstreams: UpstreamsSettings, cache: CacheSettings, docker: DockerConfig | None = None) -> None:
        """Raises SettingsError for a URL that is none, or a registry that is named twice."""
        self._tables = _by_registry(upstreams.registries)
        named = (_registry(name, "allow") for name in upstreams.allow if name != "*")
        self._allowed = {*named, *self._tables}
        self._allows_any = "*" in upstreams.allow
        self._rule = TagRule(cache.tags, cache.trust_for)
        self._docker = docker
        self._places = {registry: _places(registry, table) for registry, table in self._tables.items()}

    def allows(self, registry: Registry) -> bool:
        """Whether this cache fetches from it."""
        return self._allows_any or registry in self._allowed

    def is_named(self, registry: Registry) -> bool:
        """Whether the operator named it: one of a few, which may become a metric's label."""
        return registry in self._allowed

    def tag_rule(self, registry: Registry) -> TagRule:
        """How its tags are treated."""
        table = self._tables.get(registry, _NOTHING_SAID)
        seconds = self._rule.trust_seconds if table.trust_for is None else table.trust_for
        return TagRule(table.tags or self._rule.mode, seconds)

    def places(self, registry: Registry) -> Sequence[Endpoint]:
        """Where it is asked, in order: its mirrors, then its own address. Without our user names."""
        places = self._places.get(registry)
        if places is None:
            return [replace(place, is_configured=registry in self._allowed) for place in default_endpoints(registry)]
        return places

    def anonymous_endpoints(self, registry: Registry) -> Sequence[Endpoint]:
        """The same as anyone would ask them: without our certificate either."""
        return [
            replace(place, trust=replace(place.trust, client_certificate=None, client_key=None))
            for place in self.places(registry)
        ]

    async def endpoints(self, repository: Repository) -> Sequence[Endpoint]:
        """The places with our login at its own address. Raises UpstreamDenied when a login cannot be read."""
        *mirrors, own = self.places(repository.registry)
        return [*mirrors, replace(own, credentials=await self._login(repository))]

    def is_anyones(self, registry: Registry) -> bool:
        """Whether it is certain that it is shown nothing of ours: what it gives us it gives to anyone."""
        table = self._tables.get(registry, _NOTHING_SAID)
        return not (table.client_cert or table.password_file or self._docker)

    async def has_login(self, repository: Repository) -> bool:
        """Whether it is shown anything that not everybody has. A login that cannot be read is one."""
        if self._tables.get(repository.registry, _NOTHING_SAID).client_cert:
            return True
        try:
            return await self._login(repository) is not None
        except UpstreamDenied:
            return True

    async def _login(self, repository: Repository) -> Login | None:
        table = self._tables.get(repository.registry, _NOTHING_SAID)
        if table.password_file:
            # Read whenever it is needed: a password that is rotated is a file that is replaced.
            try:
                return Credentials(
                    table.username, read_plain(table.password_file, most_bytes=_MOST_BYTES).decode().strip()
                )
            except (OSError, ValueError) as error:
                raise UpstreamDenied(f"{table.password_file} cannot be read ({type(error).__name__})") from None
        return await self._docker.login(repository) if self._docker else None


def _by_registry(tables: Mapping[str, RegistryUpstream]) -> Mapping[Registry, RegistryUpstream]:
    found: dict[Registry, RegistryUpstream] = {}
    for name, table in tables.items():
        registry = _registry(name, "registries")
        if found.setdefault(registry, table) is not table:
            raise SettingsError("upstreams.registries", f"{registry} is there twice, as {name} and otherwise")
    return found


def _registry(name: str, key: str) -> Registry:
    try:
        return Registry(name)
    except NameInvalid as error:
        raise SettingsError(f"upstreams.{key}", str(error)) from error


def _places(registry: Registry, table: RegistryUpstream) -> Sequence[Endpoint]:
    ca_files = (table.ca,) if table.ca else ()
    own = TlsTrust(ca_files, table.client_cert, table.client_key)
    try:
        mirrors = [Endpoint.parse(url, override_path=table.override_path) for url in table.mirrors]
        places = [
            *(replace(mirror, trust=TlsTrust(ca_files)) for mirror in mirrors),
            replace(_own(registry, table), trust=own),
        ]
        return [place.leading_to(table.leads_to) for place in places]
    except ValueError as error:
        raise SettingsError("upstreams.registries", f"{registry}: {error}") from error


def _own(registry: Registry, table: RegistryUpstream) -> Endpoint:
    if table.url:
        return Endpoint.parse(table.url, override_path=table.override_path)
    if table.plain_http:
        return Endpoint.parse(f"http://{registry}")
    (default,) = default_endpoints(registry)
    return replace(default, is_configured=True)
