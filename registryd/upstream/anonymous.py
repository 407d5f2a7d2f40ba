"""A registry's answers to an anonymous client, through the endpoints that this node has for the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import is_manifest_type, parse_manifest
from registryd.upstream.errors import HeadRefused, UpstreamBroken, UpstreamFailed, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.oci.reference import Reference, Registry, Repository
    from registryd.upstream.client import RegistryClient
    from registryd.upstream.endpoint import Endpoint


class EndpointsOf(Protocol):
    """Where a registry is to be asked, in order: the node's mirrors that may resolve, at the end the registry itself.

    Never empty, and without ourselves.
    """

    def __call__(self, registry: Registry, /) -> Sequence[Endpoint]: ...


class AnonymousClient:
    """Asks a registry without credentials, endpoint after endpoint as containerd would."""

    def __init__(self, client: RegistryClient, endpoints_of: EndpointsOf) -> None:
        self._client = client
        self._endpoints_of = endpoints_of

    async def head(self, repository: Repository, reference: Reference) -> bool:
        """Return when an endpoint would give the manifest to anyone; whether it was shown nothing that is only ours.

        Raises UpstreamFailed as `_first` does.
        """
        endpoint = await self._first(repository.registry, lambda endpoint: self._head(endpoint, repository, reference))
        return not endpoint.shows_something

    async def ping(self, registry: Registry) -> None:
        """Return when an endpoint answers at all; raises UpstreamFailed as `_first` does."""
        await self._first(registry, self._client.ping)

    async def _head(self, endpoint: Endpoint, repository: Repository, reference: Reference) -> None:
        try:
            head = await self._client.head_manifest(endpoint, repository, reference)
            if is_manifest_type(head.media_type):
                _require_same(endpoint, reference, head.digest)
                return
        except HeadRefused:
            pass
        # A GET tells what a HEAD did not; a login page or a single-page application answers 200 to either.
        got = await self._client.get_manifest(endpoint, repository, reference)
        try:
            parse_manifest(got.data)
        except ManifestInvalid as error:
            raise UpstreamBroken(f"{endpoint.root.origin()}: its answer is not a manifest") from error
        _require_same(endpoint, reference, got.digest)

    def _endpoints(self, registry: Registry) -> Sequence[Endpoint]:
        try:
            return self._endpoints_of(registry)
        except ValueError as error:  # the name came from an image's, and is none that could be looked up
            raise UpstreamUnreachable(f"{registry} is no host that can be asked") from error

    async def _first(self, registry: Registry, ask: Callable[[Endpoint], Awaitable[object]]) -> Endpoint:
        """Ask until one says yes, and return that one. If none does, the last one's word counts: the registry's own.

        So a mirror's "denied" is not final while the registry cannot be reached, and a dead mirror changes nothing.
        What the others said is in the notes of what is raised.
        """
        reasons: list[UpstreamFailed] = []
        for endpoint in self._endpoints(registry):
            try:
                await ask(endpoint.anonymous())
            except UpstreamFailed as reason:
                reasons.append(reason)
            else:
                return endpoint
        *earlier, last = reasons
        for other in earlier:
            last.add_note(f"before: {other}")
        raise last


def _require_same(endpoint: Endpoint, reference: Reference, digest: Digest | None) -> None:
    if isinstance(reference, Digest) and digest not in {None, reference}:
        raise UpstreamBroken(f"{endpoint.root.origin()}: its answer is another manifest than {reference}")
