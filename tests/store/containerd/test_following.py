"""Keeping up with containerd through everything that happens to it and to the stream of its events."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import StoreUnavailable
from registryd.pb.containerd.images_pb2 import ImageCreate
from registryd.store.containerd.connection import ContainerdConnection
from registryd.store.containerd.documents import Documents
from registryd.store.containerd.following import Follower
from registryd.store.containerd.images import Images
from registryd.store.containerd.reading import DocumentReader
from registryd.store.containerd.route import Route
from tests.contracts.content_store import is_gone, is_known, resolves_to, until
from tests.fakes.containerd_faults import Fault
from tests.fakes.images import OCI_LAYER, SampleImage, helm_chart, oci_image, oci_index
from tests.store.containerd.conftest import PATIENT, PROMPT, Connect, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.oci.digest import Digest
    from registryd.store.containerd.store import ContainerdStore
    from tests.fakes.containerd import FakeContainerd


async def test_ready_when_everything_is_listed(containerd: FakeContainerd, connect: Connect) -> None:
    images = [oci_index(), helm_chart()]
    for image in images:
        containerd.put(image)
    async with connect() as store:
        containerd.calls.clear()
        await store.check()
        for image in images:
            assert await is_known(store, image)
        assert containerd.calls["List"] == containerd.calls["Get"] == 0


async def test_not_ready_before(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.fault = Fault.SILENT
    async with connect(ready=False) as store:
        with pytest.raises(StoreUnavailable, match="not been asked yet"):
            await store.check()
        containerd.fault = Fault.REFUSING
        await eventually(lambda: containerd.calls["Version"] > 2)
        with pytest.raises(StoreUnavailable, match="INTERNAL: this containerd refuses"):
            await store.check()
        containerd.fault = Fault.NONE
        await store.wait_ready()
        await store.check()


async def test_what_changed_while_containerd_was_away(containerd: FakeContainerd, connect: Connect) -> None:
    kept, gone, new = oci_image("registry.example/kept:v1"), helm_chart(), oci_index()
    containerd.put(kept)
    containerd.put(gone)
    async with connect() as store:
        await containerd.stop()
        await until(lambda: _is_away(store))
        containerd.remove(gone)
        containerd.put(new)
        await containerd.start()
        await until(lambda: _is_ready(store))
        assert await is_known(store, new)
        assert await is_known(store, kept)
        assert await is_gone(store, gone)


@pytest.mark.parametrize("how", ["ended", "garbage", "unknown topic"])
async def test_a_stream_of_events_that_fails_is_begun_again(
    containerd: FakeContainerd, connect: Connect, how: str
) -> None:
    async with connect() as store:
        subscribed = containerd.calls["Subscribe"]
        match how:
            case "ended":
                containerd.end_subscriptions()
            case "garbage":
                containerd.publish_garbage()
            case _:
                containerd.publish("/images/create", ImageCreate(name="x"), as_topic="/images/other")
        await eventually(lambda: containerd.calls["Subscribe"] > subscribed)
        image = oci_image()
        containerd.put(image)
        await until(lambda: is_known(store, image))


async def test_a_containerd_that_is_busy_is_followed_all_the_same(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    containerd.fault = Fault.LATE
    async with connect(timing=PROMPT) as store:
        subscribed = containerd.calls["Subscribe"]
        containerd.put(image)
        await eventually(lambda: containerd.calls["Get"] > 0)
        containerd.fault = Fault.NONE
        await store.wait_renamed()
        assert [named.target for named in await store.resolve(image.name)] == [image.target]
        assert containerd.calls["Subscribe"] == subscribed


async def test_a_change_while_listing_is_not_lost(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    async with connect(ready=False) as store:
        await eventually(lambda: containerd.subscribers != {})
        containerd.put(image)
        await store.wait_ready()
        await until(lambda: is_known(store, image))


async def test_an_event_that_is_late_does_not_bring_back_what_is_gone(
    containerd: FakeContainerd, connect: Connect
) -> None:
    image, other = oci_image(), helm_chart()
    async with connect() as store:
        containerd.publish("/images/create", ImageCreate(name=str(image.name)))
        containerd.put(other)
        await until(lambda: is_known(store, other))
        assert not await store.resolve(image.name)


async def test_a_damaged_manifest_does_not_keep_the_rest_from_being_known(
    containerd: FakeContainerd, connect: Connect
) -> None:
    damaged = oci_image("registry.example/damaged:v1", layers=(b"damaged",))
    unreadable = oci_image("registry.example/unreadable:v1", layers=(b"unreadable",))
    sound = oci_index()
    for image in (damaged, unreadable, sound):
        containerd.put(image)
    containerd.path(damaged.target.digest).write_bytes(sound.manifest)
    containerd.path(unreadable.target.digest).unlink()
    containerd.path(unreadable.target.digest).mkdir()
    async with connect() as store:
        assert await is_known(store, sound)
        assert (await store.find(damaged.target.digest)).media_type is None
        with pytest.raises(StoreUnavailable, match="not a regular file"):
            await store.find(unreadable.target.digest)


class _Mistaken(DocumentReader):
    """Cannot make sense of any manifest, by a mistake of ours."""

    async def walk(self, digest: Digest, namespace: str) -> None:
        raise LookupError(f"odd: {digest} in {namespace}")


async def test_an_image_that_we_make_a_mistake_with_does_not_keep_the_rest_from_being_known(
    containerd: FakeContainerd, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed, told_of = oci_image("registry.example/odd:v1"), helm_chart()
    containerd.put(listed)
    connection, images = ContainerdConnection(containerd.socket, PATIENT), Images(("k8s.io",))
    route = Route(connection, namespaces=images.namespaces, configured_root=folder / "nothing")
    follower = Follower(connection, route=route, images=images, reader=_Mistaken(Documents(), route))
    following = asyncio.create_task(follower.run())
    try:
        await follower.wait_caught_up()
        containerd.put(told_of)
        await eventually(lambda: len(images) == 2)
        await eventually(lambda: caplog.text.count("LookupError: odd") == 2)
        await follower.check()
    finally:
        following.cancel()
        await asyncio.wait((following,))
        await connection.aclose()


async def test_media_types_are_forgotten_with_their_image(containerd: FakeContainerd, connect: Connect) -> None:
    kept, gone = oci_image(), oci_image("registry.example/gone:v1", layers=(b"shared by nobody",))
    containerd.put(kept)
    containerd.put(gone)
    layer = gone.digest_of(OCI_LAYER)
    async with connect() as store:
        assert (await store.find(layer)).media_type == OCI_LAYER
        containerd.drop_image(str(gone.name))
        await until(lambda: _is_unnamed(store, gone))
        assert (await store.find(layer)).media_type == OCI_LAYER  # the image has another name
        containerd.drop_image(f"{gone.name.repository}@{gone.target.digest}")
        async with asyncio.timeout(30):
            while (await store.find(layer)).media_type is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await resolves_to(store, kept)


async def test_a_containerd_that_stays_away_is_told_of_once(
    containerd: FakeContainerd, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="registryd.store.containerd")
    containerd.fault = Fault.REFUSING
    async with connect(ready=False):
        await eventually(lambda: containerd.calls["Version"] > 5)
    assert caplog.text.count("cannot be followed") == 1


async def _is_ready(store: ContainerdStore) -> bool:
    try:
        await store.check()
    except StoreUnavailable:
        return False
    return True


async def _is_away(store: ContainerdStore) -> bool:
    return not await _is_ready(store)


async def _is_unnamed(store: ContainerdStore, image: SampleImage) -> bool:
    return not await store.resolve(image.name)
