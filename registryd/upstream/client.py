"""The pull side of the distribution API, asked of one endpoint at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from registryd.oci.descriptor import MANIFEST_TYPES, OCI_INDEX
from registryd.oci.digest import Digest
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.referrers import render_referrers
from registryd.upstream.answers import (
    BlobStream,
    ManifestBytes,
    ManifestHead,
    blob_stream_of,
    digest_of,
    kept_of,
    length_of,
    media_type_of,
    whole_of,
)
from registryd.upstream.authorizer import Access, Authorizer
from registryd.upstream.endpoint import Site
from registryd.upstream.errors import HeadRefused, NotHttp, UpstreamBroken
from registryd.upstream.lists import MOST_TAG_BYTES, referrers_in, tags_in
from registryd.upstream.transport import Patience, Request, open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yarl import URL

    from registryd.oci.reference import Reference, Repository
    from registryd.upstream.endpoint import Endpoint
    from registryd.upstream.lists import TagPage
    from registryd.upstream.proxies import Proxies
    from registryd.upstream.reply import Reply
    from registryd.upstream.transport import Transport

# As many as Go's client follows, which is containerd's.
_MOST_REDIRECTS: Final = 9
# Registries give hundreds at once; nothing has thousands of signatures.
_MOST_PAGES: Final = 16
_ACCEPT: Final = ", ".join(sorted(MANIFEST_TYPES))


class RegistryClient:
    """Asks upstreams; every method raises UpstreamFailed of the kind that it was. Made by `open_client`."""

    def __init__(self, transport: Transport, *, clock: Callable[[], float], patience: Patience) -> None:
        self._transport = transport
        self._patience = patience
        self._authorizer = Authorizer(transport, clock=clock)

    async def ping(self, endpoint: Endpoint, *statuses: int) -> None:
        """Return when the server answers with one of these; none: with any answer but a fault of its own (5xx)."""
        request = Request("GET", endpoint.ping_url(), endpoint, self._patience)
        async with self._transport.send(request) as reply:
            await reply.discard()
            if statuses or reply.status >= 500:  # noqa: PLR2004 - HTTP's own class of statuses
                await reply.expect(*statuses)

    async def head_manifest(
        self, endpoint: Endpoint, repository: Repository, reference: Reference, *, known: Digest | None = None
    ) -> ManifestHead:
        """Ask what a manifest is without fetching it: Docker Hub counts GETs of manifests as pulls, HEADs not.

        With `known`, whether it still is that one (RFC 9110 section 13.1.2). The entity tag of a registry that has one
        is the digest in quotes (distribution, Docker Hub, GitHub, Harbor); others answer as if they had not been told.
        Raises HeadRefused besides.
        """
        url = endpoint.manifest_url(repository, reference)
        condition = {"If-None-Match": f'"{known}"'} if known else {}
        request = Request("HEAD", url, endpoint, self._patience, {"Accept": _ACCEPT, **condition})
        async with self._head(request, scope=_scope(repository)) as reply:
            await reply.expect(200, *([304] if known else []))
            unchanged = reply.status == 304  # noqa: PLR2004 - HTTP's own name of its status
            # No manifest is empty: some say so of all that they do not send.
            size = length_of(reply) or None
            return ManifestHead(media_type_of(reply), digest_of(reply), size, reply.rate_limit, unchanged)

    async def get_manifest(
        self, endpoint: Endpoint, repository: Repository, reference: Reference, *, prefer: str = ""
    ) -> ManifestBytes:
        """Fetch a manifest; by digest, its bytes are verified. `prefer` is for a cache of ours (RFC 7240)."""
        url = endpoint.manifest_url(repository, reference)
        preference = {"Prefer": prefer} if prefer else {}
        request = Request("GET", url, endpoint, self._patience, {"Accept": _ACCEPT, **preference})
        async with self._exchange(request, scope=_scope(repository)) as reply:
            await reply.expect(200)
            data = await reply.read(MAX_MANIFEST_SIZE)
            if isinstance(reference, Digest) and not reference.verifies(data):
                raise UpstreamBroken(f"{reply.url.origin()}: sent other bytes than those of {reference}")
            digest = reference if isinstance(reference, Digest) else Digest.of(data)
            return ManifestBytes(media_type_of(reply), digest, data, reply.rate_limit, kept_of(reply), whole_of(reply))

    async def get_referrers(self, endpoint: Endpoint, repository: Repository, subject: Digest) -> bytes:
        """The whole list of what is attached to the subject, of all its pages, as an index (`oci.referrers`)."""
        entries: list[dict[str, Any]] = []
        left = MAX_MANIFEST_SIZE
        url: URL | None = endpoint.referrers_url(repository, subject)
        for _ in range(_MOST_PAGES):
            if url is None:
                break
            request = Request("GET", url, endpoint, self._patience, {"Accept": OCI_INDEX})
            async with self._exchange(request, scope=_scope(repository)) as reply:
                await reply.expect(200)
                # Of all pages together: the entries of each take several times the memory of its bytes.
                page = await reply.read(left)
                left -= len(page)
                entries += referrers_in(reply, page)
                url = reply.next_page
        data = render_referrers(entries)
        if url is not None or len(data) > MAX_MANIFEST_SIZE:
            raise UpstreamBroken(f"{endpoint.root.origin()}: more is attached to {subject} than can be listed")
        return data

    async def list_tags(self, endpoint: Endpoint, repository: Repository, query: str) -> TagPage:
        """Some tags of a repository, or all, as the query says and the registry likes."""
        url = endpoint.tags_url(repository, query)
        async with self._exchange(Request("GET", url, endpoint, self._patience), scope=_scope(repository)) as reply:
            await reply.expect(200)
            return tags_in(reply, await reply.read(MOST_TAG_BYTES))

    async def head_blob(self, endpoint: Endpoint, repository: Repository, digest: Digest) -> int | None:
        """The size of a blob in bytes, None when it is not said. Raises HeadRefused besides."""
        request = Request("HEAD", endpoint.blob_url(repository, digest), endpoint, self._patience)
        async with self._head(request, scope=_scope(repository)) as reply:
            await reply.expect(200)
            return length_of(reply)

    @asynccontextmanager
    async def open_blob(  # noqa: PLR0913 - all but what it is are named
        self,
        endpoint: Endpoint,
        repository: Repository,
        digest: Digest,
        *,
        start: int = 0,
        size: int | None = None,
        may_be_longer: bool = False,
    ) -> AsyncIterator[BlobStream]:
        """Open a blob, from `start` on if the server can; closed at the end of the block. `size` if it is known.

        Raises SomethingElse besides, when the answer has another size; `may_be_longer`: when it is shorter.
        """
        # Some servers refuse a range without an end (go-containerregistry's: 416).
        headers = {"Range": f"bytes={start}-{'' if size is None else size - 1}"} if start else {}
        # A layer may take hours; what counts is that bytes keep coming.
        patience = replace(self._patience, total=None)
        request = Request("GET", endpoint.blob_url(repository, digest), endpoint, patience, headers)
        async with self._exchange(request, scope=_scope(repository)) as reply:
            await reply.expect(200, *([206] if start else []))
            yield blob_stream_of(reply, start, size, may_be_longer=may_be_longer)

    @asynccontextmanager
    async def _head(self, request: Request, *, scope: str) -> AsyncIterator[Reply]:
        """The reply to a HEAD. Raises HeadRefused where there is none that could be read."""
        try:
            async with self._exchange(request, scope=scope) as reply:
                if reply.status in {405, 501}:
                    raise HeadRefused(f"{reply.url.origin()}: does not answer HEAD ({reply.status})")
                yield reply
        except NotHttp as error:
            # With a body that came along with the head, aiohttp's parser gives neither.
            raise HeadRefused(str(error)) from error

    @asynccontextmanager
    async def _exchange(self, request: Request, *, scope: str) -> AsyncIterator[Reply]:
        """The last reply after redirects, each asked with the authorisation of its own server only."""
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._authorized(request, scope) as reply:
                target = reply.leads_to
                if target is None:
                    yield reply
                    return
                await reply.discard()
            request = replace(request, url=target)
        raise UpstreamBroken(f"{request.endpoint.root.origin()}: more than {_MOST_REDIRECTS} redirects")

    @asynccontextmanager
    async def _authorized(self, request: Request, scope: str) -> AsyncIterator[Reply]:
        """The reply to a request; a 401 is answered once."""
        access = Access(request.endpoint, Site.of(request.url), scope)
        known = self._authorizer.known(access)
        async with self._transport.send(_with(request, known)) as reply:
            if reply.status != 401:  # noqa: PLR2004 - HTTP's own name of its status
                yield reply
                return
            challenges = reply.challenges
            await reply.discard()
        answer = await self._authorizer.answer(access, challenges, patience=request.patience, refused=known)
        async with self._transport.send(_with(request, answer)) as reply:
            yield reply


@asynccontextmanager
async def open_client(
    *, clock: Callable[[], float], patience: Patience | None = None, proxies: Proxies | None = None
) -> AsyncIterator[RegistryClient]:
    """Open a client; `clock` gives seconds. The environment's proxies are used unless others are given.

    `patience` holds for each request of a conversation; blobs have no bound in all.
    """
    async with open_transport(proxies=proxies) as transport:
        yield RegistryClient(transport, clock=clock, patience=patience or Patience())


def _scope(repository: Repository) -> str:
    # For challenges that name none; the others say what the server calls the repository, as behind a path prefix.
    return f"repository:{repository.path}:pull"


def _with(request: Request, authorization: str | None) -> Request:
    return replace(request, headers={**request.headers, "Authorization": authorization}) if authorization else request
