"""A request whose place is needed for something else: begun to be answered, and ended before the first byte."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Never

import pytest

from registryd.content.asker import AskAgain, Asker, current_asker
from registryd.content.source import Content
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.content.source import NamedContent, RangeOf
    from registryd.oci.reference import TaggedName
    from tests.serving.conftest import Client, Registry

SIZE = 5_000_000
LAYER = Digest.of(b"a layer")
BLOB = f"/v2/demo/app/blobs/{LAYER}?ns=registry.example"
MANIFEST = f"/v2/demo/app/manifests/{LAYER}?ns=registry.example"
CONTAINERD = "containerd/2.4.2"


class Pressing:
    """Has the content, and no time for it. `askers` are those that it was asked by."""

    def __init__(self) -> None:
        self.askers: list[Asker | None] = []

    async def find(self, digest: Digest) -> Content:
        return Content(digest, SIZE, None)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return ()

    async def open(self, digest: Digest, wanted: RangeOf) -> Never:
        self.askers.append(current_asker())
        raise AskAgain(SIZE)


async def exchange(client: Client, path: str, *headers: str) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers, and what follows until the other end closes. A reset is an error."""
    reader, writer = await asyncio.open_connection(client.address.host, client.address.port)
    lines = [f"GET {path} HTTP/1.1", "Host: mirror", f"User-Agent: {CONTAINERD}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *rest = head.decode().split("\r\n")
    return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}, body


@pytest.fixture
def pressing(registry: Registry) -> Pressing:
    registry.cluster = pressing = Pressing()
    return pressing


@pytest.mark.parametrize("path", [BLOB, MANIFEST])
@pytest.mark.parametrize("headers", [(), ("Range: bytes=0-",)])
async def test_it_is_answered_with_the_length_and_no_byte(
    registry: Registry, pressing: Pressing, path: str, headers: tuple[str, ...]
) -> None:
    async with registry.serving() as client:
        status, answered, body = await exchange(client, path, *headers)
    assert status == "HTTP/1.1 200 OK"
    assert answered["content-length"] == str(SIZE)
    assert "content-encoding" not in answered
    assert "content-range" not in answered
    assert body == b""


@pytest.mark.parametrize(
    ("wanted", "length", "content_range"),
    [
        ("bytes=1000-", SIZE - 1000, f"bytes 1000-{SIZE - 1}/{SIZE}"),
        ("bytes=10-19", 10, f"bytes 10-19/{SIZE}"),
        (f"bytes={SIZE - 1}-", 1, f"bytes {SIZE - 1}-{SIZE - 1}/{SIZE}"),
    ],
)
async def test_a_part_is_answered_as_one(
    registry: Registry, pressing: Pressing, wanted: str, length: int, content_range: str
) -> None:
    async with registry.serving() as client:
        status, answered, body = await exchange(client, BLOB, f"Range: {wanted}")
    assert status == "HTTP/1.1 206 Partial Content"
    assert (answered["content-length"], answered["content-range"]) == (str(length), content_range)
    assert body == b""


async def test_what_is_beyond_the_content_is_not_put_off(registry: Registry, pressing: Pressing) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range=f"bytes={SIZE}-")
    assert answer.status == 416


async def test_it_is_counted_as_put_off_and_as_nothing_else(registry: Registry, pressing: Pressing) -> None:
    async with registry.serving() as client:
        for _ in range(2):
            await exchange(client, BLOB)
        await until_counted(registry, 'registryd_requests_total{kind="blob",method="GET",outcome="put_off"}', 2)
    counted = registry.metrics.render().decode()
    others = [line for line in counted.splitlines() if line.startswith("registryd_requests_total{")]
    assert sum(float(line.split()[-1]) for line in others) == 2


async def test_the_next_request_is_answered_as_if_nothing_had_been(registry: Registry, pressing: Pressing) -> None:
    async with registry.serving() as client:
        await exchange(client, BLOB)
        assert (await client.head(BLOB)).headers["Content-Length"] == str(SIZE)
        assert (await client.get("/v2/")).status == 200


async def test_a_client_that_goes_away_meanwhile_leaves_nothing_behind(registry: Registry, pressing: Pressing) -> None:
    async with registry.serving() as client:
        for _ in range(10):
            _, writer = await asyncio.open_connection(client.address.host, client.address.port)
            writer.write(f"GET {BLOB} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode())
            writer.transport.abort()
        assert (await client.get("/v2/")).status == 200


async def test_the_source_knows_who_asks(registry: Registry, pressing: Pressing) -> None:
    async with registry.serving() as client:
        await client.head(BLOB)
        await exchange(client, BLOB)
        await exchange(client, BLOB, "Range: bytes=5-")
        await exchange(client, BLOB, "Range: bytes=0-")  # a sign of parallel fetch
        await exchange(client, BLOB, "Range: bytes=5-")
    lines_up, keeps_its_place = (Asker(lines_up=one, waits=True, is_patient=True) for one in (True, False))
    assert pressing.askers == [lines_up, lines_up, keeps_its_place, keeps_its_place]


async def until_counted(registry: Registry, sample: str, count: int) -> None:
    """An answer is counted when the connection has ended at both ends."""
    async with asyncio.timeout(10):
        while registry.counted(sample) != count:  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.005)
