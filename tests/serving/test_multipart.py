"""Several ranges at once, of what is here and of what is not."""

from __future__ import annotations

from email import message_from_bytes
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.fakes.bodies import BrokenBody
from tests.fakes.images import OCI_LAYER, oci_image, sample_bytes
from tests.fakes.sources import MemorySource
from tests.serving.test_registry import codes

if TYPE_CHECKING:
    from email.message import Message

    from tests.serving.conftest import Answer, Registry

DATA = sample_bytes(100_000)
IMAGE = oci_image(layers=(DATA,))
LAYER = IMAGE.digest_of(OCI_LAYER)
BLOB = f"/v2/demo/app/blobs/{LAYER}?ns=registry.example"


@pytest.fixture
def local(registry: Registry) -> MemorySource:
    registry.local = source = MemorySource(IMAGE)
    registry.names = [source]
    return source


def parts_of(answer: Answer) -> list[tuple[str | None, str | None, bytes]]:
    """What each part says of itself, and its bytes, as a parser of mail finds them."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n"
    message = message_from_bytes(head.encode() + answer.body)
    assert message.is_multipart()
    whole, *parts = message.walk()
    assert whole is message
    return [(part["Content-Range"], part["Content-Type"], _payload(part)) for part in parts]


def _payload(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


async def test_several_ranges_come_as_parts_in_the_order_they_were_asked_for(
    registry: Registry, local: MemorySource
) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range="bytes=10-19, 0-4,-3")
    assert answer.status == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert "Content-Range" not in answer.headers
    assert parts_of(answer) == [
        ("bytes 10-19/100000", OCI_LAYER, DATA[10:20]),
        ("bytes 0-4/100000", OCI_LAYER, DATA[:5]),
        ("bytes 99997-99999/100000", OCI_LAYER, DATA[-3:]),
    ]
    assert local.left_open == 0
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="local"}') == 1


async def test_ranges_outside_of_the_content_are_left_out(registry: Registry, local: MemorySource) -> None:
    async with registry.serving() as client:
        one = await client.get(BLOB, Range="bytes=5-9,100000-")
        none = await client.get(BLOB, Range="bytes=100000-,200000-200001")
    assert (one.status, one.headers["Content-Range"], one.body) == (206, "bytes 5-9/100000", DATA[5:10])
    assert (none.status, none.headers["Content-Range"]) == (416, "bytes */100000")
    assert local.left_open == 0


@pytest.mark.parametrize("asked", ["bytes=0-99999,0-0", "bytes=" + ",".join(f"{n}-{n}" for n in range(257))])
async def test_more_than_there_is_is_refused(registry: Registry, local: MemorySource, asked: str) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range=asked)
    assert (answer.status, codes(answer)) == (400, ["UNSUPPORTED"])
    assert local.left_open == 0


async def test_of_what_is_elsewhere_one_range_at_a_time_is_given(registry: Registry) -> None:
    registry.cluster = peers = MemorySource(IMAGE)
    async with registry.serving() as client:
        several = await client.get(BLOB, Range="bytes=0-1,4-5")
        assert (several.status, codes(several)) == (400, ["UNSUPPORTED"])
        assert peers.asked == []
        assert (await client.get(BLOB, Range="bytes=0-1")).status == 206


async def test_what_is_excluded_is_not_given_in_parts_either(registry: Registry, local: MemorySource) -> None:
    registry.exclude("registry.example/demo/*")
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range="bytes=0-1,4-5")
    assert answer.status == 400
    assert not local.opened


async def test_several_ranges_of_a_manifest_are_ignored(registry: Registry, local: MemorySource) -> None:
    async with registry.serving() as client:
        answer = await client.get(
            f"/v2/demo/app/manifests/{IMAGE.target.digest}?ns=registry.example", Range="bytes=0-1,4-5"
        )
    assert (answer.status, answer.body) == (200, IMAGE.manifest)


async def test_a_part_that_breaks_ends_the_answer_short(registry: Registry) -> None:
    registry.local = MemorySource(IMAGE, make_body=lambda data: BrokenBody(data, breaks_after=len(data) // 2))
    async with registry.serving() as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.get(BLOB, Range="bytes=0-99,200-299")
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="error"}') == 1
