"""The local registry as containerd sees it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from registryd.oci.digest import Digest
from tests.fakes.bodies import BrokenBody, StalledBody
from tests.fakes.images import OCI_LAYER, helm_chart, oci_image, oci_index, sample_bytes
from tests.fakes.sources import FailingSource, MemorySource, SilentSource

if TYPE_CHECKING:
    from tests.serving.conftest import Answer, Registry

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)
MANIFEST = IMAGE.target.digest
BY_TAG = "/v2/demo/app/manifests/v1?ns=registry.example"
BY_DIGEST = f"/v2/demo/app/manifests/{MANIFEST}?ns=registry.example"
BLOB = f"/v2/demo/app/blobs/{LAYER}?ns=registry.example"


def codes(answer: Answer) -> list[str]:
    return [error["code"] for error in json.loads(answer.body)["errors"]]


async def test_the_base_says_that_the_api_is_spoken(registry: Registry) -> None:
    async with registry.serving() as client:
        answer = await client.get("/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


# Content


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_manifest_carries_what_becomes_its_descriptor(registry: Registry, path: str, method: str) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    async with registry.serving() as client:
        answer = await client.get(path, method=method)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_MANIFEST
    assert answer.headers["Content-Length"] == str(len(IMAGE.manifest))
    assert answer.headers["Docker-Content-Digest"] == str(MANIFEST)
    assert "Content-Encoding" not in answer.headers
    assert answer.body == (IMAGE.manifest if method == "GET" else b"")


async def test_the_first_component_names_the_registry_too(registry: Registry) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    async with registry.serving() as client:
        answer = await client.head("/v2/registry.example/demo/app/manifests/v1")
    assert answer.headers["Docker-Content-Digest"] == str(MANIFEST)


async def test_a_blob_has_the_type_that_its_manifest_gives_it(registry: Registry) -> None:
    chart = helm_chart()
    registry.local = MemorySource(chart)
    async with registry.serving() as client:
        for digest, data in chart.blobs.items():
            answer = await client.get(f"/v2/charts/app/blobs/{digest}?ns=registry.example")
            assert (answer.body, answer.headers["Content-Type"]) == (data, chart.media_types[digest])


async def test_a_blob_that_no_manifest_explains_is_octets(registry: Registry) -> None:
    registry.local = source = MemorySource()
    source.add(LAYER, IMAGE.blobs[LAYER])
    async with registry.serving() as client:
        answer = await client.head(BLOB)
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_what_is_not_a_manifest_is_not_served_as_one(registry: Registry) -> None:
    registry.local = source = MemorySource(IMAGE)
    async with registry.serving() as client:
        answer = await client.get(f"/v2/demo/app/manifests/{LAYER}?ns=registry.example")
    assert (answer.status, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])
    assert source.left_open == 0


async def test_content_of_this_node_goes_before_that_of_peers(registry: Registry) -> None:
    registry.local, registry.cluster = MemorySource(IMAGE), (peers := MemorySource(IMAGE))
    async with registry.serving() as client:
        assert (await client.get(BLOB)).body == IMAGE.blobs[LAYER]
    assert peers.asked == []
    assert registry.counted('registryd_sent_bytes_total{source="local"}') == len(IMAGE.blobs[LAYER])


async def test_content_of_peers_is_served_when_this_node_has_none_or_cannot_say(registry: Registry) -> None:
    registry.local, registry.cluster = FailingSource(), MemorySource(IMAGE)
    async with registry.serving() as client:
        assert (await client.get(BLOB)).body == IMAGE.blobs[LAYER]
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="peer"}') == 1


async def test_of_what_a_tag_meant_the_newest_is_served(registry: Registry) -> None:
    newer = oci_index(str(IMAGE.name))
    registry.local, registry.cluster = MemorySource(), MemorySource()
    registry.local.add_image(newer, seen_at=2000)
    registry.cluster.add_image(IMAGE, seen_at=1000)
    registry.names = [registry.cluster, registry.local]
    async with registry.serving() as client:
        answer = await client.head(BY_TAG)
    assert answer.headers["Content-Type"] == OCI_INDEX


async def test_a_tag_whose_newest_meaning_nobody_has_means_the_one_before(registry: Registry) -> None:
    newer = oci_index(str(IMAGE.name))
    registry.local = MemorySource(IMAGE)
    gone = MemorySource(newer)
    registry.names = [registry.local, gone]
    async with registry.serving() as client:
        answer = await client.head(BY_TAG)
    assert answer.headers["Docker-Content-Digest"] == str(MANIFEST)


# Ranges


@pytest.fixture
def large(registry: Registry) -> bytes:
    data = sample_bytes(3 * 1024 * 1024)
    registry.local = source = MemorySource()
    source.add(LAYER, data)
    return data


async def test_bytes_from_zero_are_answered_whole_and_not_as_a_part(registry: Registry, large: bytes) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range="bytes=0-")
    assert (answer.status, answer.body) == (200, large)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=1-", 1, 3145727),
        ("bytes=1000000-", 1000000, 3145727),
        ("bytes=5-9", 5, 9),
        ("bytes=0-3145727", 0, 3145727),
        ("bytes=3145727-9999999", 3145727, 3145727),
        ("bytes=-10", 3145718, 3145727),
    ],
)
async def test_other_ranges_are_parts(registry: Registry, large: bytes, asked: str, first: int, last: int) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range=asked)
    assert (answer.status, answer.body) == (206, large[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/3145728"


async def test_a_range_outside_of_the_content_is_416(registry: Registry, large: bytes) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range="bytes=3145728-")
    assert (answer.status, codes(answer)) == (416, ["RANGE_INVALID"])
    assert answer.headers["Content-Range"] == "bytes */3145728"


@pytest.mark.parametrize("asked", ["bytes=9-5", "bytes=1-2,5-4", "lines=1-2,4-5", "bytes=a-b", "", "bytes=--1"])
async def test_ranges_that_may_be_ignored_are(registry: Registry, large: bytes, asked: str) -> None:
    async with registry.serving() as client:
        answer = await client.get(BLOB, Range=asked)
    assert (answer.status, len(answer.body)) == (200, len(large))


# No


async def test_a_miss_is_404_at_once(registry: Registry) -> None:
    async with registry.serving() as client:
        blob, manifest, tag = await client.get(BLOB), await client.get(BY_DIGEST), await client.head(BY_TAG)
    assert (blob.status, codes(blob)) == (404, ["BLOB_UNKNOWN"])
    assert (manifest.status, codes(manifest)) == (404, ["MANIFEST_UNKNOWN"])
    assert tag.status == 404
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="miss"}') == 1


async def test_a_search_that_takes_too_long_is_404_and_ends(registry: Registry) -> None:
    registry.cluster = silent = SilentSource()
    registry.first_byte_timeout_seconds = 0.05
    async with registry.serving() as client:
        answer = await client.get(BLOB)
    assert answer.status == 404
    assert silent.cancelled == 1
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="error"}') == 1


async def test_silent_peers_do_not_take_the_tags_of_this_node_away(registry: Registry) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [SilentSource(), registry.local, FailingSource()]
    async with registry.serving() as client:
        assert (await client.head(BY_TAG)).status == 200


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_written(registry: Registry, method: str) -> None:
    async with registry.serving() as client:
        answer = await client.get("/v2/demo/app/blobs/uploads/", method=method)
    assert (answer.status, codes(answer), answer.headers["Allow"]) == (405, ["UNSUPPORTED"], "GET, HEAD")


# Who may resolve


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST, BLOB])
async def test_where_the_upstream_decides_no_head_is_answered(registry: Registry, path: str) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    registry.authorization = AuthorizationSettings(mode=AuthorizationMode.UPSTREAM)
    async with registry.serving() as client:
        assert (await client.head(path)).status == 404
        assert (await client.get(BY_TAG)).status == 404
        assert (await client.get(BY_DIGEST)).body == IMAGE.manifest
        assert (await client.get(BLOB)).body == IMAGE.blobs[LAYER]


async def test_the_mode_can_be_that_of_one_registry(registry: Registry) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    registry.authorization = AuthorizationSettings(
        mode=AuthorizationMode.OPEN, registries={"registry.example": AuthorizationMode.UPSTREAM}
    )
    async with registry.serving() as client:
        assert (await client.head(BY_DIGEST)).status == 404
        assert (await client.head(BY_DIGEST.replace("registry.example", "other.example"))).status == 200


PUBLIC = AuthorizationSettings(mode=AuthorizationMode.PUBLIC)


@pytest.mark.parametrize("is_public", [True, False])
async def test_a_digest_is_resolved_for_what_anyone_may_pull(registry: Registry, is_public: bool) -> None:
    registry.local = MemorySource(IMAGE)
    registry.authorization = PUBLIC
    registry.public.public = is_public
    async with registry.serving() as client:
        assert (await client.head(BY_DIGEST)).status == (200 if is_public else 404)
        assert (await client.head(BLOB)).status == (200 if is_public else 404)
        assert (await client.get(BLOB)).status == 200


@pytest.mark.parametrize(
    ("reachable", "is_public", "status"), [(True, True, 404), (False, True, 200), (False, False, 404)]
)
async def test_a_tag_is_the_upstreams_own_while_it_can_be_reached(
    registry: Registry, reachable: bool, is_public: bool, status: int
) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    registry.authorization = PUBLIC
    registry.public.reachable, registry.public.public = reachable, is_public
    async with registry.serving() as client:
        assert (await client.head(BY_TAG)).status == status
        assert (await client.get(BY_TAG)).status == status
    assert ("registry.example/demo/app v1 for later" in registry.public.asked) is reachable


async def test_open_and_upstream_mode_ask_nobody(registry: Registry) -> None:
    registry.local = MemorySource(IMAGE)
    for mode in (AuthorizationMode.OPEN, AuthorizationMode.UPSTREAM):
        registry.authorization = AuthorizationSettings(mode=mode)
        async with registry.serving() as client:
            await client.head(BY_DIGEST)
            await client.head(BY_TAG)
    assert registry.public.asked == []


@pytest.mark.parametrize("pattern", ["registry.example/*", "*/demo/app", "*:v1", "registry.example/demo/app"])
async def test_what_is_excluded_is_left_to_the_upstream(registry: Registry, pattern: str) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    registry.authorization = AuthorizationSettings(mode=AuthorizationMode.OPEN, exclude=(pattern,))
    async with registry.serving() as client:
        assert (await client.head(BY_TAG)).status == 404
        assert (await client.get(BLOB)).status == (200 if pattern == "*:v1" else 404)
        assert (await client.head(BY_TAG.replace("registry.example", "other.lab"))).status == 404
        assert (await client.get(BLOB.replace("demo/app", "demo/other").replace("registry", "x"))).status == 200


class _Doorkeeper:
    def admits(self, header: str | None) -> bool:
        return header == "the token"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/", BY_DIGEST, BY_TAG, BLOB, "/nothing", "/v2/UPPER/manifests/x"])
async def test_without_the_nodes_token_there_is_nothing(registry: Registry, path: str, method: str) -> None:
    registry.local = MemorySource(IMAGE)
    registry.names = [registry.local]
    registry.authorization = AuthorizationSettings(mode=AuthorizationMode.OPEN)
    registry.admission = _Doorkeeper()
    async with registry.serving() as client:
        ask = client.head if method == "HEAD" else client.get
        without, wrong = await ask(path), await ask(path, Registryd_Token="a token")
        right = await client.get("/v2/", Registryd_Token="the token")
    assert (without.status, wrong.status, right.status) == (404, 404, 200)
    assert without.body == wrong.body
    assert "WWW-Authenticate" not in without.headers


# Bodies that end early


async def test_a_body_that_breaks_ends_with_what_was_right_and_without_a_reset(registry: Registry) -> None:
    data = sample_bytes(300_000)
    registry.cluster = source = MemorySource(make_body=lambda part: BrokenBody(part, breaks_after=100_000))
    source.add(LAYER, data)
    async with registry.serving() as client:
        reader, writer = await asyncio.open_connection(client.address.host, client.address.port)
        writer.write(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await reader.read()  # raises ConnectionResetError if the connection is reset
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 300000" in head
    assert body == data[:100_000]
    assert source.left_open == 0
    assert registry.counted('registryd_requests_total{kind="blob",method="GET",outcome="error"}') == 1
    assert registry.counted('registryd_sent_bytes_total{source="peer"}') == 100_000


async def test_a_client_that_goes_away_leaves_nothing_open(registry: Registry) -> None:
    stalled = StalledBody(sample_bytes(300_000), stalls_after=100_000)
    registry.local = source = MemorySource(make_body=lambda _: stalled)
    source.add(LAYER, sample_bytes(300_000))
    async with registry.serving() as client:
        _, writer = await asyncio.open_connection(client.address.host, client.address.port)
        writer.write(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await stalled.stalled.wait()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(30):
            await source.opened[0].closed.wait()
    assert registry.counted('registryd_sent_bytes_total{source="local"}') == 100_000


async def test_content_that_changes_its_digest_is_the_clients_to_refuse(registry: Registry) -> None:
    """Complete local content is not hashed again on the way out: containerd verifies what it stores."""
    registry.local = source = MemorySource()
    source.add(Digest.of(b"other"), b"bytes")
    async with registry.serving() as client:
        answer = await client.get(f"/v2/a/blobs/{Digest.of(b'other')}?ns=r.example")
    assert answer.body == b"bytes"
