"""Replies of an upstream on the wire, with something wrong in them: does the client of registries understand or refuse?

The upstream is a server on loopback. It is the client's proxy as well, so that a mutilated address of a redirect or of
a token server leads nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from yarl import URL

from e2e.mutilation import mutilated
from lab.ports import LOOPBACK
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository, Tag
from registryd.upstream.client import open_client
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import UpstreamFailed
from registryd.upstream.proxies import Proxies, Proxy
from registryd.upstream.transport import Patience

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from e2e.mutilation import Record
    from registryd.upstream.client import RegistryClient

    Question = Callable[[RegistryClient], Awaitable[object]]

_BODY: Final = b'{"schemaVersion":2,"manifests":[]}'
_DIGEST: Final = Digest.of(_BODY)
_ENDPOINT: Final = Endpoint(root=URL("http://registry.example/v2"))
_REPOSITORY: Final = Repository.parse("registry.example/demo/app")
# Longer than any answer here needs; an upstream that says nothing more is refused after it.
_PATIENCE: Final = Patience(connect=2.0, silence=2.0, total=5.0)
_STUCK_SECONDS: Final = 60.0
_AT_ONCE: Final = 16
_MOST_BYTES: Final = 64 * 1024

_REPLIES: Final[Sequence[bytes]] = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nDocker-Content-Digest: %s\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (str(_DIGEST).encode(), len(_BODY), _BODY),
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/34\r\nContent-Length: 5\r\n\r\nemaVe",
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        b'11\r\n{"name":"a","tags\r\n9\r\n":["v1"]}\r\n0\r\n\r\n'
    ),
    (
        b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="http://registry.example/token",service="r",'
        b'scope="repository:demo/app:pull"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 32\r\nConnection: close\r\n\r\n"
        b'{"token":"abc","expires_in":300}'
    ),
    (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://registry.example/v2/other?sign=a\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    ),
    (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 53\r\nConnection: close\r\n\r\n"
        b'{"errors":[{"code":"TOOMANYREQUESTS","message":"later"}]'
    ),
    (
        b'HTTP/1.1 200 OK\r\nLink: </v2/demo/app/tags/list?last=b&n=2>; rel="next"\r\nContent-Length: 28\r\n'
        b'Connection: close\r\n\r\n{"name":"a","tags":["a","b"]}'
    ),
    b"HTTP/1.1 404 Not Found\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
)


async def _head(client: RegistryClient) -> object:
    return await client.head_manifest(_ENDPOINT, _REPOSITORY, Tag("v1"))


async def _manifest(client: RegistryClient) -> object:
    return await client.get_manifest(_ENDPOINT, _REPOSITORY, Tag("v1"))


async def _referrers(client: RegistryClient) -> object:
    return await client.get_referrers(_ENDPOINT, _REPOSITORY, _DIGEST)


async def _tags(client: RegistryClient) -> object:
    return await client.list_tags(_ENDPOINT, _REPOSITORY, "n=2")


async def _blob_size(client: RegistryClient) -> object:
    return await client.head_blob(_ENDPOINT, _REPOSITORY, _DIGEST)


async def _ping(client: RegistryClient) -> object:
    await client.ping(_ENDPOINT)
    return None


_QUESTIONS: Final[Sequence[Question]] = (_head, _manifest, _referrers, _tags, _blob_size, _ping)


class _Upstream:
    """Answers each request with another of its replies, mutilated more often than not."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.last = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            sound = self._chance.choice(_REPLIES)
            self.last = mutilated(sound, self._chance) if self._chance.random() < 0.8 else sound
            writer.write(self.last[:_MOST_BYTES])
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def try_replies(count: int, chance: random.Random, record: Record) -> None:
    """Ask so many questions; each is one input or, after a redirect or a challenge, several."""
    upstream = _Upstream(chance)
    server = await asyncio.start_server(upstream.answer, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy.parse(f"http://{LOOPBACK}:{port}")
    async with server, open_client(clock=time.monotonic, patience=_PATIENCE, proxies=Proxies(proxy, proxy)) as client:
        for _ in range(0, count, _AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    record.tried["replies of an upstream"] += 1
                    group.create_task(_ask(client, chance.choice(_QUESTIONS), upstream, record))


async def _ask(client: RegistryClient, question: Question, upstream: _Upstream, record: Record) -> None:
    try:
        async with asyncio.timeout(_STUCK_SECONDS):
            await question(client)
    except UpstreamFailed:
        pass
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        record.fault(f"{question.__name__} raised {type(error).__name__} ({error})", upstream.last)
