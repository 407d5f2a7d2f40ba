"""An upstream registry with a token server, on loopback: as registries are, and as they are at their worst."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from registryd.identity.node_token import TOKEN_HEADER
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.fakes.images import SampleImage

    Character = Callable[[web.Request], Awaitable[web.StreamResponse]]

USER: Final = "pull:secret"


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `target` is the request line's, unquoted by nobody."""

    method: str
    path: str
    query: str
    authorization: str | None
    target: str = ""
    proxy_authorization: str | None = None
    token: str | None = None
    known: str | None = None
    range: str | None = None


@dataclass
class FakeUpstream:
    """Serves what it is given below `prefix`. Everything may be changed while it runs.

    `challenge` is how it asks for credentials: none, basic or bearer. Repositories in `public` are given to anyone who
    has answered the challenge, all others only to the user with the password. `character` replaces the registry's
    answers, `token_character` the token server's. `is_conditional`: it compares If-None-Match. `referrers` is what its
    referrers API says, which it does not have otherwise; a list has at most `page_size` entries.
    """

    challenge: str = "none"
    public: set[str] = field(default_factory=set)
    prefix: str = "/v2"
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    character: Character | None = None
    token_character: Character | None = None
    realm: str | None = None
    expires_in: int | None = None
    is_conditional: bool = False
    referrers: dict[tuple[str, str], list[dict[str, Any]]] | None = None
    page_size: int = 1000
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"
    valid_tokens: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def add(self, repository: str, image: SampleImage, *, public: bool = True) -> None:
        """Keep an image under its tag and its digests."""
        for digest, data in image.blobs.items():
            self.blobs[str(digest)] = data
        target = image.target
        for reference in (image.name.tag.name, str(target.digest)):
            self.manifests[repository, reference] = (target.media_type, image.manifest)
        if public:
            self.public.add(repository)

    def count(self, path: str) -> int:
        """How many requests there were whose path begins so."""
        return sum(seen.path.startswith(path) for seen in self.seen)

    def revoke_tokens(self) -> None:
        """No token that was given out is good any longer."""
        self.valid_tokens.clear()

    # Answering

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(_seen(request))
        is_token = request.path == "/token"
        character = self.token_character if is_token else self.character
        if character is not None:
            return await character(request)
        return self._token(request) if is_token else self._registry(request)

    def _registry(self, request: web.Request) -> web.Response:
        rest = request.path.removeprefix(f"{self.prefix}/")
        repository, _, reference = rest.rpartition("/")
        repository, _, kind = repository.rpartition("/")
        if not self._is_admitted(request, repository):
            return web.Response(status=401, headers={"WWW-Authenticate": self._challenge(repository)})
        if kind == "manifests" and (repository, reference) in self.manifests:
            media_type, data = self.manifests[repository, reference]
            if self.is_conditional and request.headers.get("If-None-Match") == f'"{Digest.of(data)}"':
                return web.Response(status=304)
            headers = {"Content-Type": media_type, "Docker-Content-Digest": str(Digest.of(data))}
            return web.Response(body=data, headers=headers)
        if kind == "blobs" and reference in self.blobs:
            return _ranged(request, self.blobs[reference])
        listed = self._list(request, repository, kind, reference)
        return listed or web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)

    def _list(self, request: web.Request, repository: str, kind: str, subject: str) -> web.Response | None:
        if kind == "referrers" and self.referrers is not None:
            entries = self.referrers.get((repository, subject), [])
            return self._page(request, OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX}, "manifests", entries)
        if kind == "tags" and any(name == repository for name, _ in self.manifests):
            tags = sorted(tag for name, tag in self.manifests if name == repository and ":" not in tag)
            return self._page(request, "application/json", {"name": repository}, "tags", tags)
        return None

    def _page(
        self, request: web.Request, media_type: str, head: dict[str, Any], key: str, entries: Sequence[Any]
    ) -> web.Response:
        """So many from where the page before ended."""
        first = int(request.query.get("last", 0))
        size = min(int(request.query.get("n", len(entries))), self.page_size)
        headers = {"Content-Type": media_type}
        if first + size < len(entries):
            headers["Link"] = f'<{request.path}?n={size}&last={first + size}>; rel="next"'
        document = {**head, key: list(entries[first : first + size])}
        return web.Response(body=json.dumps(document).encode(), headers=headers)

    def _is_admitted(self, request: web.Request, repository: str) -> bool:
        given = request.headers.get("Authorization", "")
        match self.challenge:
            case "none":
                return True
            case "basic":
                return repository in self.public or given == _basic(USER)
        scheme, _, token = given.partition(" ")
        return scheme == "Bearer" and token in self.valid_tokens and token.startswith("all.")

    def _challenge(self, repository: str) -> str:
        if self.challenge == "basic":
            return 'Basic realm="fake"'
        scope = f"repository:{self._scoped(repository)}:pull"
        realm = self.realm or f"{self.url}/token"
        return f'Bearer realm="{realm}",service="fake",scope="{scope}"'

    def _scoped(self, repository: str) -> str:
        return f"{self.prefix.removeprefix('/v2').strip('/')}/{repository}".strip("/")

    def _token(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization")
        if given not in {None, _basic(USER)}:
            return web.Response(status=401)
        scope = request.query.get("scope", "")
        is_public = any(scope == f"repository:{self._scoped(name)}:pull" for name in self.public)
        allowed = "all" if given or is_public else "none"
        token = f"{allowed}.token.{len(self.seen)}"
        self.valid_tokens.add(token)
        answer: dict[str, object] = {"token": token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return web.json_response(answer)


@asynccontextmanager
async def open_upstream(
    upstream: FakeUpstream | None = None, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[FakeUpstream]:
    """Run it until the end of the block."""
    upstream = upstream or FakeUpstream()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=tls).start()
        upstream.host, upstream.port = runner.addresses[0][:2]
        upstream.scheme = "https" if tls else "http"
        yield upstream
    finally:
        await runner.cleanup()


# Characters


async def silent(_request: web.Request) -> web.StreamResponse:
    """Takes the request and never answers."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def stalling(request: web.Request) -> web.StreamResponse:
    """Sends a head and half of a body, then nothing."""
    response = web.StreamResponse(headers={"Content-Length": "10", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b"12345")
    return await silent(request)


async def short(request: web.Request) -> web.StreamResponse:
    """Sends half of a body and hangs up."""
    response = web.StreamResponse(headers={"Content-Length": "10"})
    await response.prepare(request)
    await response.write(b"12345")
    if request.transport is not None:
        request.transport.close()
    return response


async def resetting(request: web.Request) -> web.StreamResponse:
    """Hangs up without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def answering(status: int, body: bytes = b"", **headers: str) -> Character:
    """Always the same; underscores in header names are dashes."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


def _seen(request: web.Request) -> Seen:
    return Seen(
        method=request.method,
        path=request.path,
        query=request.query_string,
        authorization=request.headers.get("Authorization"),
        target=request.raw_path,
        proxy_authorization=request.headers.get("Proxy-Authorization"),
        token=request.headers.get(TOKEN_HEADER),
        known=request.headers.get("If-None-Match"),
        range=request.headers.get("Range"),
    )


def _basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def _ranged(request: web.Request, data: bytes) -> web.Response:
    start = request.http_range.start or 0
    if not start:
        return web.Response(body=data)
    if start >= len(data):
        return web.Response(status=416)
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    return web.Response(status=206, body=data[start:], headers=headers)
