"""Where a registry is to be asked, and how its API's addresses are made."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from yarl import URL

from registryd.notation import DOCKER_HUB
from registryd.upstream.addresses import parse_address
from registryd.upstream.trust import TlsTrust

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.upstream.credentials import Login

# Docker Hub's API is not where its name points (distribution/reference; containerd's docker.DefaultHost).
_HUB_API: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Site:
    """A host and a port: the least that two addresses share when they are the same server's."""

    host: str
    port: int

    @classmethod
    def of(cls, url: URL) -> Self:
        """The site of an absolute http or https URL."""
        return cls((url.host or "").lower(), url.port or 0)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint at which this node may ask for a registry's content.

    `root` is the address that repositories are below: `https://registry-1.docker.io/v2`, `https://harbor/v2/hub`.
    `is_configured` says that the operator named the endpoint, so that it may be on this machine or speak plain HTTP.
    Otherwise its name came from an image reference of any user, and is trusted no more than a redirect. `leads_to` are
    further sites that the operator vouches for, such as a token server on this machine, `plain` those of them that may
    be asked by plain HTTP whatever the endpoint is. `headers` go with every request to its own site, as those of
    hosts.toml do.
    """

    root: URL
    is_configured: bool = True
    trust: TlsTrust = field(default_factory=TlsTrust)
    credentials: Login | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    leads_to: frozenset[Site] = frozenset()
    plain: frozenset[Site] = frozenset()

    @classmethod
    def parse(cls, url: str, *, override_path: bool = False) -> Self:
        """Read an endpoint as hosts.toml has it; raises ValueError.

        Without `override_path`, `/v2` is appended unless the path ends so, as containerd does.
        """
        try:
            root = parse_address(url.rstrip("/"))
        except ValueError as error:
            raise ValueError(f"not an endpoint: {error}") from None
        if root.query_string:
            raise ValueError("not an endpoint: it has a query")
        if not override_path and root.parts[-1:] != ("v2",):
            root /= "v2"
        return cls(root=root)

    @property
    def site(self) -> Site:
        """The server that this endpoint is."""
        return _site(self.root)

    def leading_to(self, servers: Iterable[str]) -> Self:
        """The same, and these are vouched for: `host:port`, `https://host`, `http://host:port`. Raises ValueError."""
        sites, plain = set(self.leads_to), set(self.plain)
        for text in servers:
            url = parse_address(text if "://" in text else f"{self.root.scheme}://{text}")
            sites.add(Site.of(url))
            if url.scheme == "http":
                plain.add(Site.of(url))
        return replace(self, leads_to=frozenset(sites), plain=frozenset(plain))

    def allows_plain_http(self, url: URL) -> bool:
        """Whether the operator has chosen plain HTTP for it; a realm or a redirect may then use it as well."""
        return self.root.scheme == "http" or Site.of(url) in self.plain

    @property
    def shows_something(self) -> bool:
        """Whether it is shown what not everybody has, so that others may be told something else there."""
        return bool(self.credentials or self.headers or self.trust.client_certificate)

    def vouches_for(self, url: URL) -> bool:
        """Whether the operator named the server of this URL, so that it may be anywhere."""
        return self.is_configured and (Site.of(url) == self.site or Site.of(url) in self.leads_to)

    def anonymous(self) -> Self:
        """The same endpoint without this node's credentials.

        The client certificate stays: containerd shows the node's to this endpoint whoever's pod pulls.
        """
        return replace(self, credentials=None)

    def manifest_url(self, repository: Repository, reference: Reference) -> URL:
        """Where the manifest is, for GET and HEAD."""
        return self._below(repository, "manifests", reference)

    def blob_url(self, repository: Repository, digest: Digest) -> URL:
        """Where the blob is, for GET and HEAD."""
        return self._below(repository, "blobs", digest)

    def referrers_url(self, repository: Repository, subject: Digest) -> URL:
        """Where the list is of what is attached to the subject."""
        return self._below(repository, "referrers", subject)

    def tags_url(self, repository: Repository, query: str) -> URL:
        """Where the list of tags is; `query` says which part of it."""
        url = self._below(repository, "tags", "list")
        return URL(f"{url}{'&' if url.query_string else '?'}{query}", encoded=True) if query else url

    def ping_url(self) -> URL:
        """The API's own address: 200 or 401 from a registry ("Determining Support" in the distribution-spec)."""
        return self.root.joinpath("")

    def _below(self, repository: Repository, kind: str, reference: Reference | str) -> URL:
        # Nothing in a repository's path or a reference needs to be quoted.
        query = (
            "" if _is_home(self.root, repository.registry) else f"?ns={quote(repository.registry.written, safe=':')}"
        )
        return URL(f"{_text(self.root)}/{repository.path}/{kind}/{reference}{query}", encoded=True)


def default_endpoints(registry: Registry) -> Sequence[Endpoint]:
    """The endpoint of a registry without configuration, as containerd finds it.

    On loopback plain HTTP, unless the port is that of HTTPS: then whatever certificate it shows is good enough.
    """
    if not _is_loopback(registry):
        return (replace(Endpoint.parse(f"https://{_api_host(registry)}"), is_configured=False),)
    scheme = "http" if registry.has_port else "https"
    return (replace(Endpoint.parse(f"{scheme}://{registry}"), is_configured=False, trust=TlsTrust(verify=False)),)


# The same few endpoints and registries in every request.


@lru_cache(maxsize=256)
def _site(root: URL) -> Site:
    return Site.of(root)


@lru_cache(maxsize=256)
def _text(root: URL) -> str:
    return str(root).rstrip("/")


@lru_cache(maxsize=1024)
def _is_home(root: URL, registry: Registry) -> bool:
    # A mirror of several registries needs to know which: containerd sends `ns` to all but the registry's own host.
    return _site(root) == Site.of(URL(f"{root.scheme}://{_api_host(registry)}"))


def _api_host(registry: Registry) -> str:
    return _HUB_API if registry.host == DOCKER_HUB else registry.host


def _is_loopback(registry: Registry) -> bool:
    host = URL(f"//{registry.host}").host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
