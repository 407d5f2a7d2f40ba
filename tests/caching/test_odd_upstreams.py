"""Upstreams as they are: what containerd takes of them, a cache takes as well."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.config.cache import RegistryUpstream
from registryd.oci.digest import Digest
from tests.fakes.images import OCI_LAYER, SampleImage, document_of, oci_image, sample_bytes
from tests.fakes.upstream import FakeUpstream, answering, open_upstream
from tests.fakes.wordy import WordyUpstream, open_wordy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.caching.world import Client, World
    from tests.fakes.upstream import Character

DATA = sample_bytes(2_000_000)
LARGE = oci_image(layers=(DATA,))
SMALL = oci_image()
DIGEST = LARGE.digest_of(OCI_LAYER)
BY_TAG, BY_DIGEST = "demo/app/manifests/v1", f"demo/app/manifests/{LARGE.target.digest}"
BLOB = f"demo/app/blobs/{DIGEST}"


def blobs_by(upstream: FakeUpstream, character: Character) -> Character:
    """Manifests as always, blobs as the character has it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/blobs/" in request.path and request.method == "GET":
            return await character(request)
        return upstream._registry(request)

    return answer


async def is_given(client: Client, image: SampleImage, *, first: str = BY_TAG) -> bool:
    """Whether a pull gets everything, HEAD and GET."""
    for method in ("HEAD", "GET"):
        answer = await client.get(first, method=method)
        assert answer.status == 200, answer.body
        assert answer.headers["Docker-Content-Digest"] == str(image.target.digest)
        assert answer.headers["Content-Length"] == str(image.target.size)
        assert answer.headers["Content-Type"] == image.target.media_type
    for digest, data in image.blobs.items():
        if digest != image.target.digest:
            path = f"demo/app/blobs/{digest}"
            assert (await client.head(path)).headers["Content-Length"] == str(len(data))
            if (await client.get(path)).body != data:
                return False
    return True


# Lengths that are not said


async def unmeasured(request: web.Request) -> web.StreamResponse:
    """A blob in chunks."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    digest = request.path.rpartition("/")[2]
    await response.write(LARGE.blobs[Digest.parse(digest)])
    return response


async def test_a_blob_without_a_length_has_the_one_that_its_manifest_says(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = blobs_by(world.upstream, unmeasured)
    async with world.caching() as client:
        assert await is_given(client, LARGE)
        world.upstream.character = answering(500)
        assert await is_given(client, LARGE)


async def test_a_blob_whose_length_nobody_says_is_refused_in_words(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = blobs_by(world.upstream, unmeasured)
    async with world.caching() as client:
        answer = await client.get(BLOB)
        assert answer.status == 503
        assert b"does not say how large" in answer.body
        await client.get(BY_TAG)
        assert (await client.get(BLOB)).body == DATA


async def test_a_range_of_what_has_no_length_is_given(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = blobs_by(world.upstream, unmeasured)
    async with world.caching() as client:
        await client.get(BY_TAG)
        answer = await client.get(BLOB, Range="bytes=5-9")
        assert (answer.status, answer.body) == (206, DATA[5:10])
        assert answer.headers["Content-Range"] == f"bytes 5-9/{len(DATA)}"


def longer(data: bytes, *, more: bytes = b"") -> Character:
    """Says that there are 1000 bytes more, and ends the connection after `more` of them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) + 1000 - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) + 999}/{len(data) + 1000}"
        await response.prepare(request)
        await response.write(data[start:] + more)
        await asyncio.sleep(0.05)
        if request.transport is not None:
            request.transport.close()
        return response

    return answer


@pytest.mark.parametrize("more", [b"", b"x" * 1000])
@pytest.mark.parametrize("image", [LARGE, SMALL], ids=["large", "small"])
async def test_an_answer_that_says_to_be_longer_than_the_content_will_do(
    world: World, image: SampleImage, more: bytes
) -> None:
    """containerd takes it, too, if the connection ends where the content does."""
    world.upstream.add("demo/app", image)
    digest = image.digest_of(OCI_LAYER)
    world.upstream.character = blobs_by(world.upstream, longer(image.blobs[digest], more=more))
    async with world.caching() as client:
        await client.get(BY_TAG)
        assert (await client.get(f"demo/app/blobs/{digest}")).body == image.blobs[digest]
    assert digest.encoded in world.stored()


async def test_a_longer_answer_of_wrong_bytes_is_not_shown(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = blobs_by(world.upstream, longer(b"?" * len(DATA)))
    async with world.caching() as client:
        await client.get(BY_TAG)
        answer = await client.get(BLOB)
        assert (answer.status, answer.is_whole, b"?" * 10 in answer.body) == (503, True, False)
    assert DIGEST.encoded not in world.stored()


async def test_an_endpoint_that_says_the_right_size_goes_before(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    async with open_upstream() as mirror:
        mirror.add("demo/app", LARGE)
        mirror.character = blobs_by(mirror, longer(DATA))
        world.table = RegistryUpstream(mirrors=(mirror.url,))
        async with world.caching() as client:
            await client.get(BY_TAG)
            assert (await client.get(BLOB)).body == DATA
    assert len(world.blob_gets()) == 1


async def test_heads_of_blobs_without_a_length_are_answered(world: World) -> None:
    world.upstream.add("demo/app", LARGE)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD" and "/blobs/" in request.path:
            return web.Response(status=405)
        return world.upstream._registry(request)

    world.upstream.character = answer
    async with world.caching() as client:
        assert (await client.head(BLOB)).headers["Content-Length"] == str(len(DATA))


# Heads of manifests


def heads(upstream: FakeUpstream, *, status: int = 200, lacks: str = "", **said: str) -> Character:
    """HEAD of a manifest: another status, or without a header, or with others."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "HEAD" or "/manifests/" not in request.path:
            return upstream._registry(request)
        if status != 200:
            return web.Response(status=status)
        whole = upstream._registry(request)
        length = None if lacks == "Content-Length" else whole.content_length
        response = web.StreamResponse(
            headers={k: v for k, v in whole.headers.items() if k not in {lacks, "Content-Length"}}
        )
        if length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = length
        response.headers.update({name.replace("_", "-"): value for name, value in said.items()})
        await response.prepare(request)
        return response

    return answer


HEADS = {
    "no length": {"lacks": "Content-Length"},
    "no type": {"lacks": "Content-Type", "Content_Type": ""},
    "octets": {"Content_Type": "application/octet-stream"},
    "json": {"Content_Type": "application/json; charset=utf-8"},
    "no digest": {"lacks": "Docker-Content-Digest"},
    "empty": {"lacks": "Content-Length", "Content_Length": "0"},
    "refused": {"status": 405},
    "unknown": {"status": 501},
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST])
async def test_a_head_that_does_not_say_enough_is_followed_by_a_get(
    world: World, head: dict[str, str], path: str
) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = heads(world.upstream, **head)  # type: ignore[arg-type]
    async with world.caching() as client:
        assert await is_given(client, LARGE, first=path)
        assert await is_given(client, LARGE, first=path)


@pytest.mark.parametrize("late", [None, 0.005], ids=["at once", "late"])
async def test_an_upstream_that_sends_a_body_for_a_head_is_usable(world: World, late: float | None) -> None:
    """Each pull got 503: the body stood for the answer to the next request, or hid the one to this."""
    octets = {str(digest): ("application/octet-stream", data) for digest, data in LARGE.blobs.items()}
    manifest = LARGE.target.media_type, LARGE.manifest
    contents = {**octets, "v1": manifest, str(LARGE.target.digest): manifest}
    async with open_wordy(WordyUpstream(contents, late=late)) as upstream:
        world.table = RegistryUpstream(url=upstream.url)
        async with world.caching() as client:
            for first in (BY_TAG, BY_DIGEST, BY_TAG):
                assert await is_given(client, LARGE, first=first)
            assert (await client.head(BY_TAG.replace("app", "other"))).status == 200
            assert (await client.get(BY_DIGEST.replace("app", "other"))).body == LARGE.manifest
            assert (await client.get(BLOB.replace("app", "other"))).body == DATA
    assert {digest.encoded for digest in LARGE.blobs} <= world.stored()


@pytest.fixture
async def private(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """An upstream for which the cache has a login."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    async with open_upstream(FakeUpstream(challenge="bearer")) as upstream:
        upstream.add("demo/app", LARGE)
        upstream.add("demo/private", LARGE, public=False)
        world.upstream = upstream
        world.authorization = AuthorizationSettings(mode=AuthorizationMode.PUBLIC)
        world.table = RegistryUpstream(username="pull", password_file=password)
        yield world


@pytest.mark.parametrize("head", [HEADS["no type"], HEADS["octets"], HEADS["refused"]])
async def test_what_is_public_is_learnt_from_such_upstreams_too(private: World, head: dict[str, str]) -> None:
    private.upstream.character = heads(private.upstream, **head)  # type: ignore[arg-type]
    async with private.caching() as client:
        assert (await client.get(BY_TAG)).status == 200
        assert (await client.get("demo/private/manifests/v1")).status == 404


async def test_a_page_is_no_manifest_and_so_nothing_is_public(private: World) -> None:
    private.upstream.character = answering(200, b"<html>welcome</html>", Content_Type="text/html")
    async with private.caching() as client:
        assert (await client.get(BY_TAG)).status == 404


# Ranges


def breaking_once(*, open_ended: int = 206, total: str = "") -> Character:
    """Breaks off in the middle of the first answer, and does ranges in its own way.

    `open_ended`: the status for a range without an end; `total`: what a 206 says instead of the size.
    """
    state = {"broken": False}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        if found and not found[2] and open_ended != 206:
            return web.Response(status=open_ended)
        start = int(found[1]) if found else 0
        response = web.StreamResponse(status=206 if found else 200)
        response.content_length = len(DATA) - start
        if found:
            response.headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{total or len(DATA)}"
        await response.prepare(request)
        stop = len(DATA) if state["broken"] else 1_200_000
        await response.write(DATA[start:stop])
        if not state["broken"] and request.transport is not None:
            state["broken"] = True
            request.transport.close()
        return response

    return answer


@pytest.mark.parametrize(
    "character", [{"open_ended": 416}, {"open_ended": 400}, {"total": "*"}, {"open_ended": 416, "total": "*"}, {}]
)
async def test_what_broke_off_is_gone_on_with_however_it_does_ranges(
    world: World, character: dict[str, object]
) -> None:
    world.upstream.add("demo/app", LARGE)
    world.upstream.character = blobs_by(world.upstream, breaking_once(**character))  # type: ignore[arg-type]
    async with world.caching() as client:
        await client.get(BY_TAG)
        assert (await client.get(BLOB)).body == DATA
    ranges = [seen.range for seen in world.upstream.seen if "/blobs/" in seen.path]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert ranges[1].endswith(f"-{len(DATA) - 1}")
    assert len(ranges) == 2


async def test_a_server_that_refuses_every_range_is_read_from_zero(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    breaking = breaking_once()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=416) if "Range" in request.headers else await breaking(request)

    world.upstream.character = blobs_by(world.upstream, answer)
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert [bool(seen.range) for seen in world.upstream.seen] == [False, True, False]


async def test_what_was_kept_from_before_is_gone_on_with_without_an_open_range(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    world.patience = replace(world.patience, unread=0.05)
    world.upstream.character = blobs_by(world.upstream, breaking_once())
    async with world.caching() as client:
        await client.get(BY_TAG)
        world.upstream.character = blobs_by(world.upstream, _ending_after(1_500_000))
        assert not (await client.get(BLOB)).is_whole
    world.upstream.character = blobs_by(world.upstream, breaking_once(open_ended=416))
    async with world.caching() as client:
        await client.get(BY_TAG)
        world.upstream.seen.clear()
        assert (await client.get(BLOB)).body == DATA
        # aiohttp drops what it has not read when a connection ends, so perhaps not all that was sent has come.
        assert re.fullmatch(rf"bytes=1[0-9]{{6}}-{len(DATA) - 1}", world.upstream.seen[0].range or "")


def _ending_after(count: int) -> Character:
    """Gives so many bytes once, and is then not there any more."""
    state = {"asked": False}

    async def answer(request: web.Request) -> web.StreamResponse:
        if state["asked"]:
            return web.Response(status=500)
        state["asked"] = True
        response = web.StreamResponse()
        response.content_length = len(DATA)
        await response.prepare(request)
        await response.write(DATA[:count])
        if request.transport is not None:
            request.transport.close()
        return response

    return answer


# Something else


@pytest.mark.parametrize("kind", ["page", "page in chunks", "too short", "too long"])
async def test_one_page_about_an_error_is_passed_over(world: World, kind: str) -> None:
    """With status 200, as load balancers and captive portals send it."""
    world.upstream.add("demo/app", LARGE)
    pages = iter([True])

    async def answer(request: web.Request) -> web.StreamResponse:
        if not next(pages, False):
            return world.upstream._registry(request)
        if kind == "page in chunks":
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"<html>")
            return response
        body = {"page": b"<html>", "too short": DATA[:-1], "too long": DATA + b"!"}[kind]
        return web.Response(body=body, content_type="text/html" if kind == "page" else "application/octet-stream")

    world.upstream.character = blobs_by(world.upstream, answer)
    async with world.caching() as client:
        await client.get(BY_TAG)
        assert (await client.get(BLOB)).body == DATA
    assert len(world.blob_gets()) == 2


async def test_a_page_that_stays_is_no_lie_and_is_forgotten_when_it_is_gone(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    page = answering(200, b"<html>sign in</html>", Content_Type="text/html")
    world.upstream.character = blobs_by(world.upstream, page)
    async with world.caching() as client:
        await client.get(BY_TAG)
        refused = await client.get(BLOB)
        assert refused.status == 503
        assert f"sends 20 bytes instead of {len(DATA)}".encode() in refused.body
        world.upstream.character = None
        assert (await client.get(BLOB)).body == DATA


# Where it leads


async def test_a_blob_on_this_machine_is_fetched_where_the_operator_says_so(world: World) -> None:
    world.upstream.add("demo/app", LARGE)
    async with open_upstream(FakeUpstream(blobs=dict(world.upstream.blobs))) as storage:
        world.upstream.character = blobs_by(
            world.upstream, answering(307, Location=f"{storage.url}/v2/x/blobs/{DIGEST}")
        )
        async with world.caching() as client:
            assert (await client.get(BLOB)).status == 503
        world.table = RegistryUpstream(leads_to=(f"127.0.0.1:{storage.port}",))
        async with world.caching() as client:
            assert (await client.get(BLOB)).body == DATA
        assert all(seen.authorization is None for seen in storage.seen)


async def test_a_manifest_that_is_larger_than_registries_must_take_is_passed_on(world: World) -> None:
    data, target = document_of(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
            "annotations": {"x": "y" * 4_393_000},
        }
    )
    assert 4 * 1024 * 1024 < len(data) < 4_393_216
    for reference in ("v1", str(target.digest)):
        world.upstream.manifests["demo/app", reference] = (target.media_type, data)
    async with world.caching() as client:
        for path in (BY_TAG, f"demo/app/manifests/{target.digest}"):
            assert (await client.get(path)).body == data
            head = await client.head(path)
            assert (head.headers["Content-Length"], head.headers["Content-Type"]) == (str(len(data)), target.media_type)
