"""What is attached to images, through a cache: as the registry says, whichever way it has, and in an outage."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.config.cache import TagMode
from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.digest import Digest
from registryd.oci.referrers import EMPTY, referrers_tag, render_referrers
from registryd.store.directory.store import open_directory_store
from tests.caching.world import REGISTRY
from tests.fakes.images import oci_image, raw_descriptor, signature_of
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from tests.caching.world import Answer, Client, World
    from tests.fakes.images import SampleImage

IMAGE = oci_image()
SUBJECT = IMAGE.target.digest
SIGNATURE = signature_of(IMAGE)
BILL = signature_of(IMAGE, kind="application/vnd.example.sbom")
PATH = f"demo/app/referrers/{SUBJECT}"
LIST_TAG = referrers_tag(SUBJECT).name
AWAY = answering(503)


def attach(world: World, *artifacts: SampleImage, api: bool = True) -> None:
    """Have the upstream say that these belong to the image."""
    world.upstream.add("demo/app", IMAGE)
    entries = []
    for artifact in artifacts:
        for digest, data in artifact.blobs.items():
            world.upstream.blobs[str(digest)] = data
        world.upstream.manifests["demo/app", str(artifact.target.digest)] = (
            artifact.target.media_type,
            artifact.manifest,
        )
        entries.append(raw_descriptor(artifact.target, artifactType=json.loads(artifact.manifest)["artifactType"]))
    if api:
        world.upstream.referrers = {("demo/app", str(SUBJECT)): entries}
    else:
        # As Go writes it, in which the tools are written that put it there.
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        data = json.dumps(document, separators=(",", ":")).encode()
        for reference in (LIST_TAG, str(Digest.of(data))):
            world.upstream.manifests["demo/app", reference] = (OCI_INDEX, data)


def listed(answer: Answer) -> set[str]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == OCI_INDEX
    return {entry["digest"] for entry in json.loads(answer.body)["manifests"]}


def digests(*artifacts: SampleImage) -> set[str]:
    return {str(artifact.target.digest) for artifact in artifacts}


async def pull(client: Client, artifact: SampleImage) -> None:
    assert (await client.get(f"demo/app/manifests/{artifact.target.digest}")).status == 200
    for digest in artifact.blobs:
        if digest != artifact.target.digest:
            assert (await client.get(f"demo/app/blobs/{digest}")).status == 200


@pytest.mark.parametrize("api", [True, False])
async def test_the_list_is_the_registrys_and_is_there_in_an_outage(world: World, api: bool) -> None:
    attach(world, SIGNATURE, BILL, api=api)
    async with world.caching() as client:
        assert listed(await client.get(PATH)) == digests(SIGNATURE, BILL)
        await pull(client, SIGNATURE)
        world.upstream.character = AWAY
        answer = await client.get(PATH)
        assert listed(answer) == digests(SIGNATURE, BILL)
        assert "ttl=-1" in answer.cache_status
        await pull(client, SIGNATURE)
        # Those that know nothing of the API ask for its tag.
        by_tag = await client.get(f"demo/app/manifests/{LIST_TAG}")
        assert listed(by_tag) == digests(SIGNATURE, BILL)


async def test_in_an_outage_of_which_nothing_is_known_the_answer_is_503(world: World) -> None:
    world.upstream.character = answering(503, Retry_After="7")
    async with world.caching() as client:
        answer = await client.get(PATH)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")


async def test_a_filter_is_applied_and_said(world: World) -> None:
    attach(world, SIGNATURE, BILL)
    async with world.caching() as client:
        answer = await client.get(f"{REGISTRY}/{PATH}?artifactType=application/vnd.example.sbom", ns=None)
    assert listed(answer) == digests(BILL)
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


async def test_a_head_has_the_head_of_the_list(world: World) -> None:
    attach(world, SIGNATURE)
    async with world.caching() as client:
        head, whole = await client.head(PATH), await client.get(PATH)
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert (head.body, head.headers["Content-Type"]) == (b"", OCI_INDEX)


@pytest.mark.parametrize("api", [True, False])
async def test_a_new_signature_is_seen_at_once(world: World, api: bool) -> None:
    attach(world, SIGNATURE, api=api)
    async with world.caching() as client:
        assert listed(await client.get(PATH)) == digests(SIGNATURE)
        attach(world, SIGNATURE, BILL, api=api)
        assert listed(await client.get(PATH)) == digests(SIGNATURE, BILL)


async def test_mode_trust_believes_the_last_answer_for_a_while(world: World) -> None:
    world.cache = replace(world.cache, tags=TagMode.TRUST)
    attach(world, SIGNATURE)
    async with world.caching() as client:
        assert listed(await client.get(PATH)) == digests(SIGNATURE)
        attach(world, SIGNATURE, BILL)
        answer = await client.get(PATH)
    assert listed(answer) == digests(SIGNATURE)
    assert answer.cache_status == "registryd; hit"


async def test_mode_digests_leaves_it_to_the_next_endpoint(world: World) -> None:
    world.cache = replace(world.cache, tags=TagMode.DIGESTS)
    attach(world, SIGNATURE)
    async with world.caching() as client:
        assert (await client.get(PATH)).status == 404
        assert (await client.get("demo/app/tags/list")).status == 404


# What is kept


async def names_of(world: World) -> set[str]:
    async with open_directory_store(world.root) as store:
        return set(map(str, await store.names()))


@pytest.mark.parametrize("api", [True, False])
async def test_that_nothing_is_attached_is_known_of_what_was_pulled(world: World, api: bool) -> None:
    attach(world, api=True)
    world.upstream.referrers = {} if api else None
    async with world.caching() as client:
        assert listed(await client.get(PATH)) == set()
        world.upstream.character = AWAY
        assert (await client.get(PATH)).status == 503
        world.upstream.character = None
        assert (await client.get("demo/app/manifests/v1")).status == 200
        assert listed(await client.get(PATH)) == set()
        world.upstream.character = AWAY
        assert listed(await client.get(PATH)) == set()


async def test_that_nothing_is_attached_to_many_is_known_of_each(world: World) -> None:
    """It is the same list, byte for byte, which comes for all of them at once."""
    images = [oci_image(layers=(b"layer %d" % number,)) for number in range(8)]
    for number, image in enumerate(images):
        world.upstream.add(f"demo/app{number}", image)
    world.upstream.referrers = {}
    paths = [f"demo/app{number}/referrers/{image.target.digest}" for number, image in enumerate(images)]
    async with world.caching() as client:
        for number in range(len(images)):
            assert (await client.get(f"demo/app{number}/manifests/v1")).status == 200
        for answer in await asyncio.gather(*map(client.get, paths)):
            assert listed(answer) == set()
        world.upstream.character = AWAY
        for path in paths:
            assert listed(await client.get(path)) == set()


async def test_who_asks_for_anything_fills_no_store(world: World) -> None:
    attach(world)
    world.upstream.referrers = {}
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 200
        for number in range(5):
            assert listed(await client.get(f"demo/other{number}/referrers/{SUBJECT}")) == set()
            assert listed(await client.get(f"demo/app/referrers/{SIGNATURE.target.digest}")) == set()
    assert await names_of(world) == {f"{REGISTRY}/demo/app:v1"}


async def test_the_list_is_kept_under_its_tag_and_leads_to_what_it_names(world: World) -> None:
    attach(world, SIGNATURE)
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 200
        await client.get(PATH)
        await pull(client, SIGNATURE)
    assert await names_of(world) == {f"{REGISTRY}/demo/app:v1", f"{REGISTRY}/demo/app:{LIST_TAG}"}


async def test_a_page_in_place_of_the_list_takes_no_signature_away(world: World) -> None:
    attach(world, SIGNATURE)
    usual = world.upstream._registry

    async def page(request: web.Request) -> web.StreamResponse:
        is_list = "/referrers/" in request.path
        return web.Response(text="<html>", content_type="text/html") if is_list else usual(request)

    async with world.caching() as client:
        assert listed(await client.get(PATH)) == digests(SIGNATURE)
        world.upstream.character = page
        answer = await client.get(PATH)
    assert listed(answer) == digests(SIGNATURE)
    assert "ttl=-1" in answer.cache_status


async def test_what_is_no_list_under_its_tag_is_no_list(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    world.upstream.manifests["demo/app", LIST_TAG] = (IMAGE.target.media_type, IMAGE.manifest)
    async with world.caching() as client:
        assert listed(await client.get(PATH)) == set()


async def test_the_store_alone_may_be_asked(world: World) -> None:
    attach(world, SIGNATURE)
    stored = {"Cache_Control": "only-if-cached"}
    async with world.caching() as client:
        # Not 404, which would say that this is no registry with such lists.
        assert (await client.get(PATH, **stored)).status == 503
        assert (await client.get("demo/app/tags/list", **stored)).status == 503
        await client.get(PATH)
        world.upstream.seen.clear()
        assert listed(await client.get(PATH, **stored)) == digests(SIGNATURE)
    assert not world.upstream.seen


# Who may know


async def test_what_the_policy_does_not_let_resolve_is_not_listed(world: World) -> None:
    attach(world, SIGNATURE)
    world.authorization = AuthorizationSettings(mode=AuthorizationMode.UPSTREAM)
    async with world.caching() as client:
        assert (await client.get(PATH)).status == 404
        assert (await client.get("demo/app/tags/list")).status == 404
    assert not world.upstream.seen


async def test_what_is_excluded_is_not_listed(world: World) -> None:
    attach(world, SIGNATURE)
    world.authorization = AuthorizationSettings(exclude=(f"{REGISTRY}/demo/*",))
    async with world.caching() as client:
        assert (await client.get(PATH)).status == 404
        assert (await client.get("demo/app/tags/list")).status == 404


async def test_a_registry_that_may_not_be_asked_has_no_lists(world: World) -> None:
    async with world.caching() as client:
        assert (await client.get(PATH, ns="elsewhere.example")).status == 404
        assert (await client.get("demo/app/tags/list", ns="elsewhere.example")).status == 404


async def test_a_refusal_is_passed_on(world: World) -> None:
    attach(world, SIGNATURE)
    world.upstream.character = answering(403)
    async with world.caching() as client:
        assert (await client.get(PATH)).status == 403


# Tags


async def test_the_list_of_tags_is_the_registrys_page_by_page(world: World) -> None:
    attach(world, SIGNATURE)
    for tag in ("v2", "v3"):
        world.upstream.manifests["demo/app", tag] = (IMAGE.target.media_type, IMAGE.manifest)
    async with world.caching() as client:
        answer = await client.get(f"{REGISTRY}/demo/app/tags/list?n=2", ns=None)
        assert json.loads(answer.body) == {"name": f"{REGISTRY}/demo/app", "tags": ["v1", "v2"]}
        assert answer.headers["Link"] == f'</v2/{REGISTRY}/demo/app/tags/list?n=2&last=2>; rel="next"'
        more = await client.get(f"{REGISTRY}/demo/app/tags/list?n=2&last=2", ns=None)
    assert json.loads(more.body)["tags"] == ["v3"]
    assert "Link" not in more.headers


async def test_a_link_keeps_the_registry_that_was_asked_for(world: World) -> None:
    attach(world, SIGNATURE)
    world.upstream.manifests["demo/app", "v2"] = (IMAGE.target.media_type, IMAGE.manifest)
    world.upstream.page_size = 1
    async with world.caching() as client:
        answer = await client.get("demo/app/tags/list")
    assert answer.headers["Link"] == f'</v2/demo/app/tags/list?n=1&last=1&ns={REGISTRY}>; rel="next"'
    assert json.loads(answer.body)["name"] == "demo/app"


async def test_in_an_outage_the_tags_are_those_that_are_here(world: World) -> None:
    attach(world, SIGNATURE)
    for tag in ("v2", "v3"):
        world.upstream.manifests["demo/app", tag] = (IMAGE.target.media_type, IMAGE.manifest)
    async with world.caching() as client:
        for tag in ("v1", "v3"):
            assert (await client.get(f"demo/app/manifests/{tag}")).status == 200
        await client.get(PATH)
        world.upstream.character = AWAY
        answer = await client.get("demo/app/tags/list")
        assert json.loads(answer.body)["tags"] == ["v1", "v3"]
        assert "ttl=-1" in answer.cache_status
        base = f"{REGISTRY}/demo/app/tags/list"
        part = await client.get(f"{base}?n=1", ns=None)
        assert json.loads(part.body)["tags"] == ["v1"]
        assert part.headers["Link"] == f'</v2/{base}?n=1&last=v1>; rel="next"'
        rest = await client.get(f"{base}?n=1&last=v1", ns=None)
        assert (json.loads(rest.body)["tags"], rest.headers.get("Link")) == (["v3"], None)
        nothing = await client.get(f"{base}?n=0", ns=None)
        assert (json.loads(nothing.body)["tags"], nothing.headers.get("Link")) == ([], None)
        assert (await client.get("demo/other/tags/list")).status == 503


async def test_a_repository_that_is_not_there_has_no_tags(world: World) -> None:
    async with world.caching() as client:
        answer = await client.get("demo/app/tags/list")
    assert (answer.status, answer.cache_status) == (404, "registryd; fwd=miss; fwd-status=404")
    assert json.loads(answer.body)["errors"][0]["code"] == "NAME_UNKNOWN"


async def test_in_an_outage_a_repository_of_which_only_digests_are_here_has_no_tags(world: World) -> None:
    attach(world)
    async with world.caching() as client:
        assert (await client.get(f"demo/app/manifests/{SUBJECT}")).status == 200
        world.upstream.character = AWAY
        for headers in ({}, {"Cache_Control": "only-if-cached"}):
            answer = await client.get("demo/app/tags/list", **headers)
            assert (answer.status, json.loads(answer.body)["tags"]) == (200, [])
        # Of which nothing is here.
        assert (await client.get("demo/other/tags/list")).status == 503


@pytest.mark.parametrize("api", [True, False])
async def test_in_an_outage_a_list_is_among_the_tags_if_the_registry_has_it_there(world: World, api: bool) -> None:
    attach(world, SIGNATURE, api=api)
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 200
        await client.get(PATH)
        await client.get(f"demo/app/referrers/{SIGNATURE.target.digest}")
        expected = json.loads((await client.get("demo/app/tags/list")).body)["tags"]
        assert (LIST_TAG in expected) != api
        world.upstream.character = AWAY
        assert json.loads((await client.get("demo/app/tags/list")).body)["tags"] == expected


async def test_refusals_say_where_they_come_from(world: World) -> None:
    attach(world)
    async with world.caching() as client:
        for path in ("demo/app/manifests/v7", f"demo/app/blobs/{BILL.target.digest}"):
            assert (await client.get(path)).cache_status == "registryd; fwd=miss; fwd-status=404"
        unasked = await client.get("demo/app/manifests/v7", Cache_Control="only-if-cached")
        assert (unasked.status, unasked.cache_status.partition(";")[2][:8]) == (404, " detail=")
        world.upstream.character = AWAY
        for path in ("demo/app/manifests/v7", PATH, "demo/app/tags/list"):
            answer = await client.get(path)
            assert answer.status == 503
            assert answer.cache_status.startswith('registryd; fwd=miss; detail="')
        elsewhere = await client.get("demo/app/manifests/v7", ns="elsewhere.example")
        assert elsewhere.cache_status.startswith('registryd; detail="elsewhere.example is not among')


async def test_several_ranges_of_what_is_not_here_are_refused_in_one_clear_line(world: World) -> None:
    attach(world)
    layer = next(digest for digest in IMAGE.blobs if digest != SUBJECT)
    async with world.caching() as client:
        answer = await client.get(f"demo/app/blobs/{layer}", Range="bytes=0-1,3-4")
    [error] = json.loads(answer.body)["errors"]
    said = "several ranges are answered of what is here, and this is not; ask for one at a time"
    assert (answer.status, error["message"]) == (400, f"{said} ({layer} is not in the store)")


async def test_a_tag_and_a_digest_in_one_path_are_refused_in_words_that_help(world: World) -> None:
    async with world.caching() as client:
        answer = await client.get(f"demo/app/manifests/v1@{SUBJECT}")
    [error] = json.loads(answer.body)["errors"]
    assert (answer.status, "is both a tag and a digest" in error["message"]) == (400, True)


def test_an_empty_list_is_one_that_clients_understand() -> None:
    assert json.loads(EMPTY) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert render_referrers(()) == EMPTY
