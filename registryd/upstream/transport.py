"""One request, one reply: connections, proxies, TLS, time-outs, and the check of their destinations.

The transport adds nothing by itself: no redirects, cookies, .netrc or decompression. The head of a reply is
bounded by aiohttp: 8190 bytes for a line, 128 headers; registries send some twenty of a few hundred characters.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp

from registryd.aio.expiring import ExpiringSet
from registryd.aio.recent import Recent
from registryd.upstream.destinations import guarded_socket, is_forbidden_literal
from registryd.upstream.endpoint import Site
from registryd.upstream.errors import DestinationForbidden, NotHttp
from registryd.upstream.proxies import Proxies
from registryd.upstream.reply import Reply
from registryd.upstream.resolver import ThreadResolver
from registryd.upstream.wire_errors import translated
from registryd.version import VERSION

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from yarl import URL

    from registryd.upstream.endpoint import Endpoint
    from registryd.upstream.proxies import Proxy
    from registryd.upstream.trust import TlsTrust

# Contexts of configured endpoints; each holds a parsed CA bundle, about 1 MiB.
_MOST_CONTEXTS: Final = 32
# Servers whose connections are not used again. An hour: one that was mended, or a proxy that was in between, costs a
# handshake more for each request until then.
_MOST_UNTIDY: Final = 256
_UNTIDY_SECONDS: Final = 3600.0
# May be asked twice (RFC 9110 section 9.2.2).
_IDEMPOTENT: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for a connection (name, TCP, TLS), for the next byte, and in all (None: no bound).

    The defaults are for questions whose answers are small. A connection to the other side of the world takes half a
    second; one retransmitted SYN makes it 1.5 s, two make it 3.5 s.
    """

    connect: float = 5.0
    silence: float = 10.0
    total: float | None = 15.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request, its address, and its endpoint: the endpoint decides about trust, TLS and plain HTTP."""

    method: str
    url: URL
    endpoint: Endpoint
    patience: Patience
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Sessions:
    """aiohttp's sessions of one kind: `kept` uses a connection again, `single` opens one for each request."""

    kept: aiohttp.ClientSession
    single: aiohttp.ClientSession


class Transport:
    """Sends requests; made by `open_transport`.

    Some servers send more than an answer has: a body after the head for a HEAD, mostly. On a connection that is used
    again, that is taken for the next answer. So a request whose answer is no HTTP is sent again on a connection of its
    own, and from then on all requests to that server are.
    """

    def __init__(self, *, free: Sessions, guarded: Sessions, proxies: Proxies) -> None:
        self._free = free
        self._guarded = guarded
        self._proxies = proxies
        self._contexts: Recent[tuple[TlsTrust, bool], ssl.SSLContext] = Recent(_MOST_CONTEXTS)
        self._untidy: ExpiringSet[Site] = ExpiringSet(lifetime=_UNTIDY_SECONDS, capacity=_MOST_UNTIDY)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """The reply to a request, closed at the end of the block. Raises UpstreamFailed.

        Servers that the operator did not name are connected to only through the guard.
        """
        vouched_for = request.endpoint.vouches_for(request.url)
        _check_url(request, vouched_for=vouched_for)
        proxy = self._proxies.for_url(request.url)
        # A proxy is the operator's choice and may be anywhere. What it connects to is then its own policy.
        sessions = self._free if vouched_for or proxy is not None else self._guarded
        response = await self._open(sessions, request, proxy)
        try:
            yield Reply(response, request.url, now=time.time)
        finally:
            # A connection whose body was read has been given back already; the rest of an unread one may be long.
            response.close()

    async def _open(self, sessions: Sessions, request: Request, proxy: Proxy | None) -> aiohttp.ClientResponse:
        site = Site.of(request.url)
        if site not in self._untidy:
            try:
                return await self._ask(sessions.kept, request, proxy)
            except NotHttp:
                if request.method not in _IDEMPOTENT:
                    raise
            self._untidy.add(site)
        return await self._ask(sessions.single, request, proxy)

    async def _ask(
        self, session: aiohttp.ClientSession, request: Request, proxy: Proxy | None
    ) -> aiohttp.ClientResponse:
        is_tls = request.url.scheme == "https"
        speaks_tls = is_tls or (proxy is not None and proxy.url.scheme == "https")
        # Never aiohttp's own context: an agent has it without the host's authorities (commands/afresh.py).
        context = await self._context(request) if speaks_tls else True
        login = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
        own = request.endpoint.headers if Site.of(request.url) == request.endpoint.site else ()
        patience = request.patience
        with translated(request.url):
            return await session.request(
                request.method,
                request.url,
                # For TLS the proxy gets a request of its own, which opens the tunnel.
                headers={**dict(own), **request.headers, **({} if is_tls else login)},
                data=request.form,
                allow_redirects=False,
                ssl=context,
                proxy=proxy.url if proxy else None,
                proxy_headers=login if proxy and is_tls else None,
                timeout=aiohttp.ClientTimeout(
                    total=patience.total, connect=patience.connect, sock_read=patience.silence
                ),
            )

    async def _context(self, request: Request) -> ssl.SSLContext:
        """CAs hold for whatever the endpoint leads to; the client certificate is shown to the endpoint only."""
        trust = request.endpoint.trust
        is_own = request.url.scheme == "https" and Site.of(request.url) == request.endpoint.site
        identify = trust.client_certificate is not None and is_own
        context = self._contexts.get((trust, identify))
        if context is None:
            context = await asyncio.to_thread(trust.context, identify=identify)
            self._contexts.put((trust, identify), context)
        return context


@asynccontextmanager
async def open_transport(*, proxies: Proxies | None = None) -> AsyncIterator[Transport]:
    """Open a transport; its connections are closed at the end of the block.

    The environment's proxies are used unless others are given; raises ValueError when it names what is no proxy.
    """
    if proxies is None:
        proxies = Proxies.from_environment(os.environ)
    async with AsyncExitStack() as stack:
        resolver = ThreadResolver()
        stack.push_async_callback(resolver.close)

        async def session(*, guarded: bool, single: bool) -> aiohttp.ClientSession:
            socket_factory = guarded_socket if guarded else None
            connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=socket_factory, force_close=single)
            return await stack.enter_async_context(_session(connector))

        free, guarded = [
            Sessions(await session(guarded=guarded, single=False), await session(guarded=guarded, single=True))
            for guarded in (False, True)
        ]
        yield Transport(free=free, guarded=guarded, proxies=proxies)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # The environment's proxies are read by ourselves, and .netrc would make an anonymous request somebody's.
        trust_env=False,
        headers={"User-Agent": f"registryd/{VERSION}", "Accept-Encoding": "identity"},
    )


def _check_url(request: Request, *, vouched_for: bool) -> None:
    url = request.url
    if url.scheme != "https" and not (url.scheme == "http" and request.endpoint.allows_plain_http(url)):
        raise DestinationForbidden(f"{url.origin()}: plain HTTP only where the endpoint was configured with it")
    if not vouched_for and is_forbidden_literal(url.host or ""):
        raise DestinationForbidden(f"{url.origin()} is not a place that an upstream may lead to")
