"""In an outage a cache knows of what it has that it is not signed, if the upstream has said so."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.caching.absences import Absences
from registryd.config.cache import RegistryUpstream
from registryd.content.source import Content
from registryd.oci.descriptor import OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, TaggedName
from registryd.oci.referrers import attached_tags, referrers_tag, subject_of
from tests.caching.world import REGISTRY, until
from tests.fakes.images import oci_image
from tests.fakes.upstream import answering, open_upstream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.caching.world import Answer, Client, World

IMAGE = oci_image()
SIGNATURE, ATTESTATION, BILL = (f"demo/app/manifests/{tag}" for tag in attached_tags(IMAGE.target.digest))
AWAY = answering(503)
APP = Repository(Registry(REGISTRY), "demo/app")
DAY = 24 * 3600


async def pull(client: Client) -> None:
    assert (await client.get("demo/app/manifests/v1")).status == 200


async def asked(client: Client, path: str = SIGNATURE, *, method: str = "GET") -> Answer:
    return await client.get(path, method=method)


def signed(world: World) -> None:
    manifest = (IMAGE.target.media_type, IMAGE.manifest)
    world.upstream.manifests["demo/app", SIGNATURE.rpartition("/")[2]] = manifest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_was_absent_is_absent_in_an_outage(world: World, method: str) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
        for path in (SIGNATURE, BILL):
            first = await asked(client, path, method=method)
            assert (first.status, first.cache_status) == (404, "registryd; fwd=miss; fwd-status=404")
        world.upstream.character = AWAY
        for path in (SIGNATURE, BILL):
            answer = await asked(client, path, method=method)
            assert answer.status == 404
            assert answer.cache_status.startswith("registryd; hit; ttl=-1; detail=")
        # Of which nobody has asked.
        assert (await asked(client, ATTESTATION)).status == 503


async def test_why_it_is_said_stands_in_the_answer(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
        await asked(client)
        world.upstream.character = AWAY
        [error] = json.loads((await asked(client)).body)["errors"]
    assert error["code"] == "MANIFEST_UNKNOWN"
    assert ".sig was not there a moment ago; now: " in error["message"]


async def test_of_what_is_not_here_and_of_other_tags_nothing_is_remembered(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    stranger = f"demo/app/manifests/{next(iter(attached_tags(Digest.of(b'another'))))}"
    elsewhere = SIGNATURE.replace("demo/app", "demo/other")
    paths = (stranger, elsewhere, "demo/app/manifests/v2")
    async with world.caching() as client:
        await pull(client)
        for path in paths:
            assert (await asked(client, path)).status == 404
        world.upstream.character = AWAY
        for path in paths:
            assert (await asked(client, path)).status == 503


async def test_the_list_of_a_registry_without_referrers_may_be_absent(world: World) -> None:
    """Who asks for the tag itself is told what the registry says, and so in an outage."""
    world.upstream.add("demo/app", IMAGE)
    path = f"demo/app/manifests/{referrers_tag(IMAGE.target.digest)}"
    async with world.caching() as client:
        await pull(client)
        assert (await asked(client, path)).status == 404
        world.upstream.character = AWAY
        assert (await asked(client, path)).status == 404
        # That the tag is absent does not say what the API would.
        assert (await client.get(f"demo/app/referrers/{IMAGE.target.digest}")).status == 503


async def test_a_signature_that_comes_later_is_there(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
        assert (await asked(client)).status == 404
        signed(world)
        assert (await asked(client)).status == 200
        world.upstream.character = AWAY
        assert (await asked(client)).status == 200


async def test_a_registry_that_is_left_alone_is_not_asked_for_it(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
        await asked(client)
        world.upstream.character = answering(429, Retry_After="600")
        assert (await asked(client)).status == 404
        world.upstream.seen.clear()
        assert (await asked(client)).status == 404
    assert world.upstream.seen == []


async def test_who_does_not_answer_is_not_waited_for(world: World) -> None:
    """A mirror says that it has none; the registry itself says nothing: that is not its word."""
    async with open_upstream() as mirror:
        mirror.add("demo/app", IMAGE)
        world.table = RegistryUpstream(mirrors=(mirror.url,))
        world.upstream.character = AWAY
        async with world.caching() as client:
            await pull(client)
            assert (await asked(client)).status == 503
            mirror.character = AWAY
            assert (await asked(client)).status == 503
    assert not (world.root / "absent.json").exists()


@pytest.mark.parametrize(("days", "expected"), [(6, 404), (8, 503)])
async def test_it_is_known_after_a_restart_for_a_week(world: World, days: int, expected: int) -> None:
    world.upstream.add("demo/app", IMAGE)
    note = world.root / "absent.json"
    async with world.caching() as client:
        await pull(client)
        await asked(client)
        await until(note.exists)
    said(note, ago=days * DAY)
    world.upstream.character = AWAY
    async with world.caching() as client:
        assert (await asked(client)).status == expected


async def test_another_addresss_word_is_not_the_registrys(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
        await asked(client)
        await until((world.root / "absent.json").exists)
    async with open_upstream() as other:
        other.character = AWAY
        world.table = replace(world.table, url=other.url)
        async with world.caching() as client:
            assert (await asked(client)).status == 503


@pytest.mark.parametrize("text", ["{", "[]", '{"registries": {"registry.example": {"asked": [], "absent": 7}}}'])
async def test_a_file_that_makes_no_sense_is_no_matter(world: World, text: str) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await pull(client)
    (world.root / "absent.json").write_text(text)
    async with world.caching() as client:
        assert (await asked(client)).status == 404
        world.upstream.character = AWAY
        assert (await asked(client)).status == 404


def said(note: Path, *, ago: float) -> None:
    document = json.loads(note.read_text())
    absent = document["registries"][REGISTRY]["absent"]
    assert list(absent) == [f"demo/app:{SIGNATURE.rpartition('/')[2]}"]
    document["registries"][REGISTRY]["absent"] = dict.fromkeys(absent, time.time() - ago)
    note.write_text(json.dumps(document))


# By itself


class Everything:
    """Has whatever is asked for."""

    async def find(self, digest: Digest) -> Content:
        return Content(digest, 1, OCI_MANIFEST)

    def namers(self, _digest: Digest) -> frozenset[Repository]:
        return frozenset({APP})


class Nothing:
    """A file that is never there."""

    async def read(self) -> list[tuple[Registry, str, float]]:
        return []

    async def write(self, said: Iterable[tuple[Registry, str, float]]) -> None:
        """Is not kept."""


async def test_only_so_many_are_remembered() -> None:
    absences = Absences(Everything(), Nothing())  # type: ignore[arg-type]
    names = [TaggedName(APP, next(iter(attached_tags(Digest.of(b"%d" % number))))) for number in range(10_000)]
    for name in names:
        await absences.said(name)
    known = [name for name in names if absences.age(name) is not None]
    assert known == names[-8192:]


def test_the_subject_of_a_tag() -> None:
    digest, long = Digest.of(b"x"), Digest.of(b"x", algorithm="sha512")
    for tag in (referrers_tag(digest), *attached_tags(digest)):
        assert subject_of(tag) == digest
    # Which does not say it whole.
    assert subject_of(referrers_tag(long)) is None
