"""What every store must do, whatever it keeps its content in.

Subclass `ContentStoreContract` in a test module as `Test…` with a fixture `stock`: a store, and the means to put
images into it from outside, the way they come there in life.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import pytest

from registryd.content.naming import NameInventory
from registryd.content.source import ContentNotFound, ContentSource, NameSource
from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import RangeRequest, Span
from registryd.oci.reference import TaggedName
from registryd.transfer.errors import SinkClosed
from tests.fakes.images import (
    OCI_CONFIG,
    OCI_LAYER,
    SampleImage,
    docker_image,
    document_of,
    helm_chart,
    oci_image,
    oci_index,
    raw_descriptor,
    sample_bytes,
)
from tests.fakes.sinks import FakeSink, StuckSink, socket_sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.oci.descriptor import Descriptor

# More than a socket pair buffers, so that sending it has to wait for the receiver.
_LARGE = 3 * 1024 * 1024 + 7
# For what comes within milliseconds, except on a machine that is busy with other tests.
_PATIENCE_SECONDS = 30.0


class Store(ContentSource, NameSource, NameInventory, Protocol):
    """A store answers for content and for names."""


class Stock(Protocol):
    """A store under test and the outside of it: containerd and its client, a directory and another tool."""

    @property
    def store(self) -> Store:
        """The store, started."""

    async def put(self, image: SampleImage) -> None:
        """Bring all of the image's content in, and its name; the store may learn of it a moment later."""

    async def remove(self, image: SampleImage) -> None:
        """Take the image's name and content away; the store may learn of it a moment later."""


class ContentStoreContract:
    """The suite. Its images are tiny, its questions are those that containerd and peers ask."""

    # ---- content: sizes and media types

    @pytest.mark.parametrize("make", [oci_image, docker_image, helm_chart, oci_index])
    async def test_everything_is_found_with_size_and_media_type(
        self, stock: Stock, make: Callable[[], SampleImage]
    ) -> None:
        image = make()
        await put(stock, image)
        for digest, data in image.blobs.items():
            content = await stock.store.find(digest)
            assert content.digest == digest
            assert content.size == len(data)
            assert content.media_type == image.media_types[digest]

    async def test_docker_list_is_found_with_its_own_media_type(self, stock: Stock) -> None:
        image = oci_index(docker=True)
        await put(stock, image)
        for digest in image.blobs:
            assert (await stock.store.find(digest)).media_type == image.media_types[digest]

    async def test_manifest_without_media_type_is_told_by_its_shape(self, stock: Stock) -> None:
        image = without_own_media_types(oci_index())
        await put(stock, image)
        assert (await stock.store.find(image.target.digest)).media_type == OCI_INDEX

    async def test_config_that_looks_like_json_is_not_a_manifest(self, stock: Stock) -> None:
        image = oci_image()
        await put(stock, image)
        assert (await stock.store.find(image.digest_of(OCI_CONFIG))).media_type == OCI_CONFIG

    async def test_open_tells_the_same_as_find(self, stock: Stock) -> None:
        image = oci_index()
        await put(stock, image)
        for digest, data in image.blobs.items():
            opened = await stock.store.open(digest, Span.whole)
            await opened.body.aclose()
            assert opened.content == await stock.store.find(digest)
            assert opened.span == Span.whole(len(data))
            assert opened.body.length == len(data)

    # ---- content: bytes

    async def test_whole_content_is_sent(self, stock: Stock) -> None:
        image = oci_image(layers=(b"", b"x", sample_bytes(100_000)))
        await put(stock, image)
        for digest, data in image.blobs.items():
            assert await read(stock.store, digest, Span.whole) == data

    @pytest.mark.parametrize(
        "header",
        ["bytes=0-0", "bytes=0-9", "bytes=1-", "bytes=70000-70009", "bytes=99999-", "bytes=-5", "bytes=5-999999"],
    )
    async def test_span_is_sent(self, stock: Stock, header: str) -> None:
        data = sample_bytes(100_000)
        image = oci_image(layers=(data,))
        await put(stock, image)
        wanted = asked_for(header)
        span = wanted.span(len(data))
        assert await read(stock.store, Digest.of(data), wanted.span) == data[span.start : span.stop]

    async def test_span_outside_is_refused_with_the_size(self, stock: Stock) -> None:
        data = sample_bytes(1000)
        image = oci_image(layers=(data,))
        await put(stock, image)
        with pytest.raises(RangeInvalid) as caught:
            await stock.store.open(Digest.of(data), asked_for("bytes=1000-").span)
        assert caught.value.size == 1000

    async def test_large_content_goes_through_a_descriptor(self, stock: Stock) -> None:
        data = sample_bytes(_LARGE)
        await put(stock, oci_image(layers=(data,)))
        opened = await stock.store.open(Digest.of(data), Span.whole)
        with socket_sink() as sink:
            received = asyncio.create_task(sink.read(_LARGE))
            await opened.body.send_to(sink)
            await opened.body.aclose()
            assert await received == data
            assert sink.sent == _LARGE

    async def test_many_read_at_once(self, stock: Stock) -> None:
        data = sample_bytes(300_000)
        await put(stock, oci_image(layers=(data,)))
        spans = [Span(start, 300_000 - start) for start in range(0, 150_000, 10_000)]
        got = await asyncio.gather(*(read(stock.store, Digest.of(data), always(span)) for span in spans))
        assert got == [data[span.start : span.stop] for span in spans]

    # ---- bodies: closing and giving up

    async def test_body_may_be_closed_twice_and_unsent(self, stock: Stock) -> None:
        image = oci_image()
        await put(stock, image)
        opened = await stock.store.open(image.digest_of(OCI_LAYER), Span.whole)
        await opened.body.aclose()
        await opened.body.aclose()

    async def test_cancelled_while_sending(self, stock: Stock) -> None:
        data = sample_bytes(_LARGE)
        await put(stock, oci_image(layers=(data,)))
        opened = await stock.store.open(Digest.of(data), Span.whole)
        sink = StuckSink()
        sending = asyncio.create_task(opened.body.send_to(sink))
        await sink.reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await opened.body.aclose()

    async def test_cancelled_while_opening(self, stock: Stock) -> None:
        image = oci_image()
        await put(stock, image)
        opening = asyncio.create_task(stock.store.open(image.digest_of(OCI_LAYER), Span.whole))
        await asyncio.sleep(0)
        if not opening.cancel():  # it was quick
            await (await opening).body.aclose()
            return
        with pytest.raises(asyncio.CancelledError):
            await opening

    async def test_receiver_goes_away(self, stock: Stock) -> None:
        data = sample_bytes(_LARGE)
        await put(stock, oci_image(layers=(data,)))
        opened = await stock.store.open(Digest.of(data), Span.whole)
        with pytest.raises(SinkClosed):
            await opened.body.send_to(FakeSink(closes_after=1_000_000))
        await opened.body.aclose()

    # ---- what is not there

    async def test_unknown_digest_is_not_found(self, stock: Stock) -> None:
        await put(stock, oci_image())
        for unknown in (Digest.of(b"nobody has this"), Digest("sha512", "0" * 128), Digest("sha256", "0" * 64)):
            with pytest.raises(ContentNotFound):
                await stock.store.find(unknown)
            with pytest.raises(ContentNotFound):
                await stock.store.open(unknown, Span.whole)

    async def test_what_an_index_refers_to_need_not_be_there(self, stock: Stock) -> None:
        image = oci_index()
        await put(stock, image)
        for digest in image.absent:
            with pytest.raises(ContentNotFound):
                await stock.store.find(digest)

    async def test_range_is_not_asked_of_what_is_not_there(self, stock: Stock) -> None:
        with pytest.raises(ContentNotFound):
            await stock.store.open(Digest.of(b"nobody has this"), asked_for("bytes=9-").span)

    # ---- names

    async def test_name_means_its_manifest(self, stock: Stock) -> None:
        image = oci_index()
        before = time.time()
        await put(stock, image)
        [known] = await stock.store.resolve(image.name)
        assert known.target == image.target
        assert before - 2 <= known.seen_at <= time.time() + 2

    async def test_unknown_name_means_nothing(self, stock: Stock) -> None:
        await put(stock, oci_image("registry.example/demo/app:v1"))
        for other in ("registry.example/demo/app:v2", "registry.example/demo/ap:v1", "other.example/demo/app:v1"):
            assert not await stock.store.resolve(TaggedName.parse(other))

    async def test_names_may_share_a_manifest(self, stock: Stock) -> None:
        first, second = oci_image("registry.example/demo/app:v1"), oci_image("registry.example/demo/app:latest")
        await put(stock, first)
        await put(stock, second)
        for image in (first, second):
            [known] = await stock.store.resolve(image.name)
            assert known.target == image.target

    async def test_name_moves(self, stock: Stock) -> None:
        old, new = oci_image(layers=(b"old",)), oci_image(layers=(b"new",))
        await put(stock, old)
        await put(stock, new)
        await until(lambda: resolves_to(stock.store, new))

    async def test_all_names_are_told_with_what_they_mean(self, stock: Stock) -> None:
        images = [oci_index(), oci_image("registry.example/demo/app:v1"), oci_image("registry.example/demo/app:v2")]
        for image in images:
            await put(stock, image)
        namings = await stock.store.namings()
        assert {(naming.name, naming.meaning.target) for naming in namings} == {
            (image.name, image.target) for image in images
        }
        for naming in namings:
            assert naming.meaning in await stock.store.resolve(naming.name)

    async def test_who_waits_is_told_of_names_that_come_move_and_go(self, stock: Stock) -> None:
        old, new = oci_image(layers=(b"old",)), oci_image(layers=(b"new",))
        changes: list[Callable[[], Awaitable[None]]] = [
            lambda: stock.put(old),
            lambda: stock.put(new),
            lambda: stock.remove(new),
        ]
        for change, target in zip(changes, (old.target, new.target, None), strict=True):
            await change()
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while await _meanings(stock.store) != [target] * (target is not None):
                    await stock.store.wait_renamed()

    # ---- changes

    async def test_content_that_comes_later_is_found(self, stock: Stock) -> None:
        await put(stock, oci_image())
        later = oci_image("registry.example/demo/later:v1", layers=(b"a later layer",))
        with pytest.raises(ContentNotFound):
            await stock.store.find(later.target.digest)
        await put(stock, later)
        for digest in later.blobs:
            assert (await stock.store.find(digest)).media_type == later.media_types[digest]

    async def test_content_that_is_removed_is_gone(self, stock: Stock) -> None:
        kept, gone = oci_image(), helm_chart()
        await put(stock, kept)
        await put(stock, gone)
        await stock.remove(gone)
        await until(lambda: is_gone(stock.store, gone))
        assert await read(stock.store, kept.target.digest, Span.whole) == kept.manifest

    async def test_open_content_survives_its_removal(self, stock: Stock) -> None:
        image = oci_image()
        await put(stock, image)
        opened = await stock.store.open(image.target.digest, Span.whole)
        await stock.remove(image)
        sink = FakeSink()
        await opened.body.send_to(sink)
        await opened.body.aclose()
        assert sink.data == image.manifest


# ---- what the suite is written in


async def put(stock: Stock, image: SampleImage) -> None:
    """Bring an image in and wait until the store knows of all of it."""
    await stock.put(image)
    await until(lambda: is_known(stock.store, image))


async def read(store: Store, digest: Digest, wanted: Callable[[int], Span]) -> bytes:
    """What a receiver without a descriptor gets."""
    opened = await store.open(digest, wanted)
    sink = FakeSink()
    try:
        await opened.body.send_to(sink)
    finally:
        await opened.body.aclose()
    assert sink.sent == opened.body.length == opened.span.length
    return bytes(sink.data)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what a real store learns from events. Never sleeps for a store that knows at once."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - the store under test may be another process
            await asyncio.sleep(0.005)


async def is_known(store: Store, image: SampleImage) -> bool:
    try:
        found = [(await store.find(digest)).media_type == image.media_types[digest] for digest in image.blobs]
    except ContentNotFound:
        return False
    return all(found) and await resolves_to(store, image)


async def _meanings(store: Store) -> list[Descriptor]:
    return [naming.meaning.target for naming in await store.namings()]


async def resolves_to(store: Store, image: SampleImage) -> bool:
    return [known.target for known in await store.resolve(image.name)] == [image.target]


async def is_gone(store: Store, image: SampleImage) -> bool:
    for digest in image.blobs:
        try:
            await store.find(digest)
        except ContentNotFound:
            continue
        return False
    return not await store.resolve(image.name)


def always(span: Span) -> Callable[[int], Span]:
    """Wants the same bytes whatever the size."""
    return lambda _size: span


def asked_for(header: str) -> RangeRequest:
    wanted = RangeRequest.parse(header)
    assert wanted is not None
    return wanted


def without_own_media_types(image: SampleImage) -> SampleImage:
    """The same index as BuildKit and others write it: without the `mediaType` that OCI leaves optional."""
    platform = next(digest for digest, known in image.media_types.items() if known == OCI_MANIFEST)
    kept = {digest: data for digest, data in image.blobs.items() if digest != image.target.digest}
    data, target = document_of(
        {
            "schemaVersion": 2,
            "manifests": [raw_descriptor(type(image.target)(OCI_MANIFEST, platform, len(image.blobs[platform])))],
        },
        media_type=OCI_INDEX,
    )
    media_types = {digest: known for digest, known in image.media_types.items() if digest != image.target.digest}
    return SampleImage(image.name, target, {target.digest: data, **kept}, {target.digest: OCI_INDEX, **media_types})
