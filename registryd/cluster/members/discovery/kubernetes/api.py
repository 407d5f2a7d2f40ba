"""List and watch over HTTP: the two requests that discovery needs of the Kubernetes API.

aiohttp's client, which is here anyway, instead of a client library for all of Kubernetes: the official one is 20 MB of
generated models, of which two requests would be used, and its watch neither resumes nor bounds what it reads.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from registryd.aio.connecting import reason_of
from registryd.cluster.members.discovery.kubernetes.answers import GONE, explain, read_event, read_page
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired
from registryd.cluster.members.discovery.kubernetes.lines import LineSplitter, LineTooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from registryd.cluster.members.discovery.kubernetes.account import ServiceAccount
    from registryd.cluster.members.discovery.kubernetes.answers import Event, SlicePage

# etcd refuses objects above 1.5 MiB; an event wraps one.
LONGEST_EVENT: Final = 2 << 20
# 10,000 endpoints of 350 bytes are 3.5 MB. A list out of the server's cache comes in one piece, whatever `limit` says.
LARGEST_PAGE: Final = 16 << 20
_LARGEST_REFUSAL: Final = 64 << 10
_PAGE_ITEMS: Final = 500
# The server ends a watch after this many seconds. client-go takes 5 to 10 minutes, so that a watch that went
# wrong unnoticed is over some time, and connections spread anew over the servers.
WATCH_SECONDS: Final = 480
_LATE_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 10
_LIST_SECONDS: Final = 30
_OK: Final = 200


class SliceApi(Protocol):
    """Lists and watches the EndpointSlices of one service.

    Both raise ApiFailed, and VersionExpired when the version that they were given, or were paging at, is too old.
    """

    async def list_page(self, *, following: str = "", fresh: bool = False) -> SlicePage:
        """One part of the list, the first or the one that `following` names.

        `fresh` asks for the present list, which costs the server a read of etcd. Otherwise the server answers from its
        cache.
        """

    def watch(self, since: str) -> AsyncGenerator[Event, None]:
        """The changes after this version. The server may end the watch; the caller closes it."""


@dataclass(frozen=True, slots=True)
class Service:
    """Whose endpoints: a headless service and the name of its port. Names as the settings have checked them."""

    namespace: str
    name: str
    port_name: str

    @property
    def path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

    @property
    def selector(self) -> str:
        return f"kubernetes.io/service-name={self.name}"


class HttpSliceApi:
    """The real one; made by `open_api`."""

    def __init__(self, session: aiohttp.ClientSession, account: ServiceAccount, service: Service) -> None:
        self._session = session
        self._account = account
        self._service = service

    async def list_page(self, *, following: str = "", fresh: bool = False) -> SlicePage:
        query = {"limit": str(_PAGE_ITEMS)}
        if following:
            query["continue"] = following
        elif not fresh:
            query["resourceVersion"] = "0"
        timeout = aiohttp.ClientTimeout(total=_LIST_SECONDS, connect=_CONNECT_SECONDS)
        async with self._get(query, timeout) as answer:
            body = await _read_at_most(answer, LARGEST_PAGE)
            return read_page(body, port_name=self._service.port_name)

    async def watch(self, since: str) -> AsyncGenerator[Event, None]:
        query = {"watch": "1", "resourceVersion": since, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(WATCH_SECONDS)
        timeout = aiohttp.ClientTimeout(connect=_CONNECT_SECONDS, sock_read=WATCH_SECONDS + _LATE_SECONDS)
        lines = LineSplitter(LONGEST_EVENT)
        async with self._get(query, timeout) as answer:
            async for chunk in answer.content.iter_any():
                for line in lines.feed(chunk):
                    yield read_event(line, port_name=self._service.port_name)

    @asynccontextmanager
    async def _get(
        self, query: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self._account.token()}", "Accept": "application/json"}
        url = f"https://{self._account.server}{self._service.path}"
        parameters = {**query, "labelSelector": self._service.selector}
        try:
            async with self._session.get(
                url,
                params=parameters,
                headers=headers,
                ssl=self._account.tls(),
                timeout=timeout,
                # The token is for this server and for no other.
                allow_redirects=False,
            ) as answer:
                await _refuse_all_but_ok(answer)
                yield answer
        except (aiohttp.ClientError, OSError, LineTooLong) as error:  # TimeoutError is an OSError
            raise ApiFailed(f"{self._account.server}: {_words(error)}") from error


@asynccontextmanager
async def open_api(account: ServiceAccount, service: Service) -> AsyncIterator[HttpSliceApi]:
    """The API of this cluster; its connections are closed at the end of the block."""
    # Not compressed: a small body must not become a large one.
    headers = {"User-Agent": "registryd", "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(socket_factory=_watchful_socket)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield HttpSliceApi(session, account, service)


def _watchful_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A watch may be silent for minutes. Keepalive tells that from a server that is gone, within a minute."""
    sock = socket.socket(info[0], info[1], info[2])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
    return sock


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return reason_of(error.os_error)
    return str(error) or type(error).__name__


async def _refuse_all_but_ok(answer: aiohttp.ClientResponse) -> None:
    if answer.status == _OK:
        return
    said = explain(await answer.content.read(_LARGEST_REFUSAL))
    reason = f"the API server answered {answer.status}{': ' if said else ''}{said}"
    if answer.status == GONE:
        raise VersionExpired(reason)
    raise ApiFailed(reason, retry_after=_retry_after(answer))


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    """Kubernetes sends seconds, never a date."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0  # noqa: PLR2004 - a day


async def _read_at_most(answer: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            raise ApiFailed(f"a list of more than {most} bytes")
    return bytes(body)
