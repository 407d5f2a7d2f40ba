"""Whatever is thrown at the doors, they answer below 500, without a traceback, out of the store only.

The requests are written byte by byte, because an HTTP client would refuse to send most of them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registryd.content.ledger import Ledger
from registryd.observability.metrics import Metrics
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import PeerBytesDoor
from registryd.store.directory.store import open_directory_store
from tests.fakes import entitled
from tests.fakes.images import OCI_LAYER, oci_image
from tests.serving.conftest import LOOPBACK, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.notation import Address

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)

# A file beside the store that no request may ever reach.
SECRET = b"root:x:0:0: outside of the store"

_PIECES = st.sampled_from(
    [
        *("/v2/", "/v1/blobs/", "demo/app", "/manifests/", "/blobs/", "v1", str(LAYER), "sha256:", "sha512:"),
        *("..", "/", "//", "%2e%2e", "%2F", "%00", "%", "%zz", "?ns=", "&ns=", "registry.example", "[::1]", ":", "@"),
        *("\\", "é", " ", "#", ";", "'", '"', "<script>", "A" * 300, "0", "-", "_catalog", "tags/list", "uploads/"),
    ]
)
_TARGETS = st.one_of(
    st.lists(_PIECES, max_size=8).map(lambda parts: "/" + "".join(parts)),
    st.text(max_size=60),
    st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
)
_RANGES = st.one_of(
    st.sampled_from(
        ["bytes=0-", "bytes=1-", "bytes=-1", "bytes=9-1", "bytes=0-0,5-6", "bytes=" + "9" * 30 + "-", "bytes"]
    ),
    st.text(max_size=40),
)
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Range", "Host", "Content-Length", "Transfer-Encoding", "Accept", "Connection", "X", "Expect", "\0"]
        ),
        st.one_of(
            _RANGES,
            st.sampled_from(["chunked", "chunked, chunked", "-1", "18446744073709551616", "upgrade", "100-continue"]),
        ),
    ),
    max_size=5,
)
_METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "TRACE", "CONNECT", "get", "G\0T", "PRI"])
_REQUESTS = st.tuples(_METHODS, _TARGETS, _HEADERS)


def written(request: tuple[str, str, list[tuple[str, str]]]) -> bytes:
    method, target, headers = request
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", errors="surrogatepass")


# Closes the connection if the door still listens to us; if it takes this for the body of what came before, it waits.
_LAST = b"\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_SILENCE_SECONDS = 0.2


async def answer(address: Address, raw: bytes) -> bytes:
    """Everything that comes back until the door closes or has nothing more to say."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    said = b""
    try:
        writer.write(raw + _LAST)
        with suppress(ConnectionError, TimeoutError):
            while chunk := await asyncio.wait_for(reader.read(65536), _SILENCE_SECONDS):
                said += chunk
        return said
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def judge(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    for line in said.split(b"\r\n"):
        if line.startswith(b"HTTP/1."):
            assert line.split()[1] < b"500", line
    assert SECRET not in said
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


class OpenDoor:
    """A door over a directory store with an image in it. One for all examples: opening takes longer than answering."""

    def __init__(self, door: str, folder: Path) -> None:
        self._door = door
        self._folder = folder
        self._stack = AsyncExitStack()

    async def open(self) -> Address:
        store = await self._stack.enter_async_context(open_directory_store(self._folder))
        for digest, data in IMAGE.blobs.items():
            ingest = await store.begin(digest)
            await ingest.write(data)
            await ingest.commit()
            await ingest.aclose()
        await store.name({IMAGE.name: IMAGE.target})
        if self._door == "registry":
            client = await self._stack.enter_async_context(Registry(local=store, names=[store]).serving())
            return client.address
        handle = PeerBytesDoor(store=entitled.given(store), ledger=Ledger(Metrics())).handle
        return (await self._stack.enter_async_context(open_door(handle, LOOPBACK))).address

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
def image_in_a_directory(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path / "store"


@pytest.mark.parametrize("door", ["registry", "peer bytes"])
def test_hostile_requests(door: str, image_in_a_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with asyncio.Runner() as runner:
        opened = OpenDoor(door, image_in_a_directory)
        address = runner.run(opened.open())
        try:

            @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
            @given(st.lists(_REQUESTS, min_size=1, max_size=3))
            def throw_requests(requests: list[tuple[str, str, list[tuple[str, str]]]]) -> None:
                judge(runner.run(answer(address, b"".join(map(written, requests)))), caplog)

            throw_requests()

            @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
            @given(st.binary(max_size=200))
            def throw_bytes(raw: bytes) -> None:
                judge(runner.run(answer(address, raw)), caplog)

            throw_bytes()
            for path in (f"/v2/demo/app/blobs/{LAYER}?ns=registry.example", f"/v1/blobs/{LAYER}"):
                said = runner.run(answer(address, written(("GET", path, [("Host", "x")]))))
                assert said.startswith(b"HTTP/1.1 200 ") == (path.startswith("/v2/") == (door == "registry"))
        finally:
            runner.run(opened.aclose())
