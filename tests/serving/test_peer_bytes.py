"""The door through which peers fetch bytes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import PeerBytesDoor
from registryd.telemetry import Metrics
from registryd.transfer.uploads import Uploads
from tests.fakes.images import OCI_LAYER, oci_image
from tests.fakes.sources import FailingSource, MemorySource
from tests.serving.conftest import LOOPBACK, Client, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.content.source import ContentSource

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)


@asynccontextmanager
async def serving(
    store: ContentSource, metrics: Metrics | None = None, uploads: Uploads | None = None
) -> AsyncIterator[Client]:
    door = PeerBytesDoor(store=store, metrics=metrics or Metrics(), uploads=uploads)
    async with open_door(door.handle, LOOPBACK) as opened, client_of(opened.address) as client:
        yield client


async def test_peers_get_what_the_store_has() -> None:
    metrics = Metrics()
    async with serving(MemorySource(IMAGE), metrics) as client:
        answer = await client.get(f"/v1/blobs/{LAYER}")
        part = await client.get(f"/v1/blobs/{LAYER}", Range="bytes=0-3")
    assert (answer.status, answer.body) == (200, IMAGE.blobs[LAYER])
    assert (part.status, part.body) == (206, IMAGE.blobs[LAYER][:4])
    assert part.headers["Content-Range"] == f"bytes 0-3/{len(IMAGE.blobs[LAYER])}"
    assert f"registryd_peer_sent_bytes_total {len(IMAGE.blobs[LAYER]) + 4:.1f}" in metrics.render().decode()


async def test_one_upload_too_many_is_sent_elsewhere_and_the_next_is_not() -> None:
    uploads = Uploads(most=1)
    async with serving(MemorySource(IMAGE), uploads=uploads) as client:
        with uploads.begin():
            busy = await client.get(f"/v1/blobs/{LAYER}")
            assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
            assert (await client.head(f"/v1/blobs/{LAYER}")).status == 200
        assert (await client.get(f"/v1/blobs/{LAYER}")).status == 200


async def test_a_head_tells_without_sending() -> None:
    async with serving(MemorySource(IMAGE)) as client:
        answer = await client.head(f"/v1/blobs/{LAYER}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(IMAGE.blobs[LAYER])))


@pytest.mark.parametrize("store", [MemorySource(), FailingSource()])
async def test_what_the_store_cannot_give_is_404(store: ContentSource) -> None:
    async with serving(store) as client:
        assert (await client.get(f"/v1/blobs/{Digest.of(b'absent')}")).status == 404


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404),
        ("/v1/blobs/", "GET", 404),
        ("/v1/blobs/sha256:12", "GET", 400),
        ("/v1/blobs/..%2f..%2fetc%2fpasswd", "GET", 404),
        (f"/v1/blobs/{LAYER}/x", "GET", 404),
        (f"/v2/demo/app/blobs/{LAYER}", "GET", 404),
        (f"/v1/blobs/{LAYER}", "PUT", 405),
    ],
)
async def test_everything_else_is_refused(path: str, method: str, status: int) -> None:
    async with serving(MemorySource(IMAGE)) as client:
        assert (await client.get(path, method=method)).status == status
