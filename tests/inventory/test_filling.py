"""A cache is filled image by image, what fails is tried again, and registries that ask for it are left alone."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from registryd.commands.prefetch import prefetch
from registryd.failures import CommandFailed
from registryd.inventory.lists import ImageName
from registryd.inventory.worklist import Worklist
from tests.caching.world import REGISTRY
from tests.fakes.images import OCI_LAYER, SampleImage, oci_image, sample_bytes
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from registryd.inventory.worklist import Job
    from tests.caching.world import World


def image(number: int, *, size: int = 100) -> SampleImage:
    return oci_image(f"{REGISTRY}/demo/app{number}:v1", layers=(sample_bytes(size, seed=number),))


class Lists:
    """A list in a file, and what the command says of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = folder / "images.txt"
        self._capsys = capsys

    def write(self, *names: str) -> None:
        self._path.write_text("\n".join(names))

    async def fill(self, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        self._capsys.readouterr()
        code = await prefetch(images=[str(self._path)], into=url, platform=["all"], json=True, **more)
        return code, json.loads(self._capsys.readouterr().out)


@pytest.fixture
def lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Lists:
    return Lists(tmp_path, capsys)


def names_in(world: World) -> set[str]:
    document = json.loads((world.root / "index.json").read_bytes())
    return {entry["annotations"]["io.containerd.image.name"] for entry in document["manifests"]}


async def test_every_form_of_name_has_the_image_and_its_names(world: World, lists: Lists) -> None:
    by_tag, by_digest, by_both, moved = [image(number) for number in range(4)]
    for number, each in enumerate((by_tag, by_digest, by_both, moved)):
        world.upstream.add(f"demo/app{number}", each)
    world.upstream.add("demo/app3", oci_image(layers=(b"newer",)))  # v1 has moved on since the list was made
    lists.write(
        f"{REGISTRY}/demo/app0:v1",
        f"{REGISTRY}/demo/app1@{by_digest.target.digest}",
        f"{REGISTRY}/demo/app2:v1@{by_both.target.digest}",
        f"{REGISTRY}/demo/app3:v1@{moved.target.digest}",
    )
    async with world.caching() as client:
        code, document = await lists.fill(client.url)
    assert (code, [each["complete"] for each in document["images"]]) == (0, [True] * 4)
    assert names_in(world) == {
        f"{REGISTRY}/demo/app0:v1",
        f"{REGISTRY}/demo/app1@{by_digest.target.digest}",
        f"{REGISTRY}/demo/app2:v1",
        f"{REGISTRY}/demo/app2@{by_both.target.digest}",
        f"{REGISTRY}/demo/app3@{moved.target.digest}",
    }
    assert ["note" in each for each in document["images"]] == [False, False, False, True]
    assert "v1 means another image by now" in document["images"][3]["note"]


async def test_of_a_tag_that_is_gone_it_is_said_that_the_digest_is_there(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.upstream.add("demo/app0", image(0))
    name = f"{REGISTRY}/demo/app0:v7@{image(0).target.digest}"
    (tmp_path / "images.txt").write_text(name)
    async with world.caching() as client:
        assert await prefetch(images=[str(tmp_path / "images.txt")], into=client.url, platform=["all"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "is there by its digest; there is no tag v7 any more (export --images gives it the tag)" in said


async def test_images_are_whole_one_after_the_other(world: World, lists: Lists) -> None:
    """So that a run that is stopped has brought something."""
    images = [image(number) for number in range(20)]
    for number, each in enumerate(images):
        world.upstream.add(f"demo/app{number}", each)
    lists.write(*(f"{REGISTRY}/demo/app{number}:v1" for number in range(20)))
    async with world.caching() as client:
        await lists.fill(client.url, parallel=1)
    order = [seen.path.split("/")[3] for seen in world.upstream.seen if seen.method == "GET"]
    assert order == sorted(order, key=order.index)
    assert sum(first != second for first, second in itertools.pairwise(order)) == 19


async def test_small_images_cost_a_cache_no_more_questions_than_they_have_pieces(world: World, lists: Lists) -> None:
    world.upstream.add("demo/app0", image(0))
    lists.write(f"{REGISTRY}/demo/app0:v1")
    async with world.caching() as client:
        await lists.fill(client.url)
    assert [seen.method for seen in world.upstream.seen] == ["GET"] * 3


async def test_what_breaks_off_is_tried_again_after_the_others(world: World, lists: Lists) -> None:
    for number in range(3):
        world.upstream.add(f"demo/app{number}", image(number))
    failing = iter([True] * 2)

    async def moody(request: web.Request) -> web.StreamResponse:
        if "app0" in request.path and next(failing, False):
            return web.Response(status=400)
        return world.upstream._registry(request)

    world.upstream.character = moody
    lists.write(*(f"{REGISTRY}/demo/app{number}:v1" for number in range(3)))
    async with world.caching() as client:
        code, _ = await lists.fill(client.url, parallel=1)
    assert code == 0
    assert [seen.path.split("/")[3] for seen in world.upstream.seen][:2] == ["app0", "app1"]


async def test_what_is_not_there_is_not_asked_for_again(world: World, lists: Lists) -> None:
    lists.write(f"{REGISTRY}/demo/none:v1")
    async with world.caching() as client:
        code, document = await lists.fill(client.url)
    assert code == 1
    assert len(world.upstream.seen) == 1
    [lacking] = document["images"][0]["lacking"]
    assert lacking["what"] == "v1"
    assert "NAME_UNKNOWN" in lacking["why"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_registry_that_asks_for_it_is_left_alone_and_gone_on_with(
    world: World, lists: Lists, status: int
) -> None:
    world.upstream.add("demo/app0", image(0))
    limited = iter([True])

    async def once(request: web.Request) -> web.StreamResponse:
        if next(limited, False):
            return web.Response(status=status, headers={"Retry-After": "1"})
        return world.upstream._registry(request)

    world.upstream.character = once
    lists.write(f"{REGISTRY}/demo/app0:v1")
    async with world.caching() as client:
        began = asyncio.get_running_loop().time()
        code, _ = await lists.fill(client.url)
        assert code == 0
        assert asyncio.get_running_loop().time() - began >= 1


async def test_patience_has_an_end_and_the_reason_is_the_registrys_own(world: World, lists: Lists) -> None:
    for number in range(3):
        world.upstream.add(f"demo/app{number}", image(number))

    async def limited(request: web.Request) -> web.StreamResponse:
        errors = [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]
        return web.json_response({"errors": errors}, status=429, headers={"Retry-After": "3600"})

    world.upstream.character = limited
    lists.write(*(f"{REGISTRY}/demo/app{number}:v1" for number in range(3)))
    async with world.caching() as client:
        code, document = await lists.fill(client.url, parallel=1, patience="5s")
    assert code == 1
    assert "You have reached your pull rate limit." in document["images"][0]["lacking"][0]["why"]
    assert len(world.upstream.seen) == 1  # the cache does not ask for others meanwhile


async def test_what_the_cache_has_no_room_for_is_said(world: World, lists: Lists) -> None:
    world.upstream.add("demo/app0", image(0, size=300_000))
    world.cache = replace(world.cache, size_limit=100_000)
    lists.write(f"{REGISTRY}/demo/app0:v1")
    async with world.caching() as client:
        code, document = await lists.fill(client.url)
    [lacking] = document["images"][0]["lacking"]
    assert code == 1
    assert lacking["what"] == str(image(0, size=300_000).digest_of(OCI_LAYER))
    assert "it has no room for it" in lacking["why"]


async def test_what_was_removed_for_what_came_later_is_said(world: World, lists: Lists) -> None:
    for number in range(4):
        world.upstream.add(f"demo/app{number}", image(number, size=50_000))
    world.cache = replace(world.cache, size_limit=120_000, min_age=0.0)
    lists.write(*(f"{REGISTRY}/demo/app{number}:v1" for number in range(4)))
    async with world.caching() as client:
        code, document = await lists.fill(client.url, parallel=1)
    assert code == 1
    assert any("too small for the list" in lacking["why"] for each in document["images"] for lacking in each["lacking"])


async def test_who_watches_a_log_is_told_how_far_it_is(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.commands.progress._LINE_SECONDS", 0.01)
    world.upstream.add("demo/app0", image(0))

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return world.upstream._registry(request)

    world.upstream.character = slow
    (tmp_path / "images.txt").write_text(f"{REGISTRY}/demo/app0:v1\n{REGISTRY}/demo/none:v1")
    async with world.caching() as client:
        assert await prefetch(images=[str(tmp_path / "images.txt")], into=client.url, platform=["all"]) == 1
    said = capsys.readouterr().err
    assert "fetching: 0 of 2 images, 0 bytes, 0s" in said
    assert f"incomplete {REGISTRY}/demo/none:v1" in said


@pytest.mark.parametrize("patience", ["", "soon", "-1s", "5"])
async def test_a_patience_that_is_none_is_one_line(world: World, lists: Lists, patience: str) -> None:
    lists.write(f"{REGISTRY}/demo/app0:v1")
    with pytest.raises(CommandFailed, match="--patience"):
        await lists.fill("http://127.0.0.1:9", patience=patience)


# The order of work


async def test_one_cache_that_is_down_is_one_reason_each(world: World, lists: Lists) -> None:
    world.upstream.character = answering(500)
    lists.write(f"{REGISTRY}/demo/app0:v1", f"{REGISTRY}/demo/app1:v1")
    async with world.caching() as client:
        code, document = await lists.fill(client.url)
    assert code == 1
    assert all(len(each["lacking"]) == 1 for each in document["images"])


def named(*names: str) -> list[ImageName]:
    return [ImageName.parse(name) for name in names]


async def taken(worklist: Worklist) -> Job:
    job = await worklist.take()
    assert job is not None
    return job


async def done_next(worklist: Worklist) -> str:
    """The next job is done at once."""
    job = await taken(worklist)
    worklist.done(job)
    return str(job.image)


@pytest.mark.looptime
async def test_images_of_other_registries_go_on_meanwhile() -> None:
    worklist = Worklist(named("a.lab/x:1", "a.lab/y:1", "b.lab/x:1"), patience=100)
    first = await worklist.take()
    assert first is not None
    assert worklist.later(first, 30)
    assert await done_next(worklist) == "b.lab/x:1"
    assert await done_next(worklist) == "a.lab/x:1"
    assert asyncio.get_running_loop().time() == pytest.approx(30)
    assert await done_next(worklist) == "a.lab/y:1"
    assert await worklist.take() is None


@pytest.mark.looptime
async def test_the_same_wait_counts_once_and_only_up_to_the_patience() -> None:
    worklist = Worklist(named("a.lab/x:1", "a.lab/y:1", "a.lab/z:1"), patience=40)
    jobs = [await worklist.take() for _ in range(3)]
    assert [worklist.later(job, 30) for job in jobs if job] == [True] * 3
    again = await worklist.take()
    assert again is not None
    assert not worklist.later(again, 11)


@pytest.mark.looptime
async def test_who_finds_nothing_to_do_waits_for_what_may_fail() -> None:
    worklist = Worklist(named("a.lab/x:1"), patience=0)
    job = await worklist.take()
    assert job is not None
    waiting = asyncio.create_task(worklist.take())
    await asyncio.sleep(1)
    assert not waiting.done()
    worklist.again(job)
    got = await waiting
    assert got is not None
    assert got.attempts == 1
    waiting = asyncio.create_task(worklist.take())
    worklist.done(got)
    assert await waiting is None


@pytest.mark.looptime
async def test_a_registry_that_asked_for_a_pause_gets_fewer_at_a_time_and_then_more() -> None:
    worklist = Worklist(named(*(f"a.lab/{letter}:1" for letter in "stuvwxyz")), patience=1000)
    at_once = [await taken(worklist) for _ in range(4)]
    assert [worklist.later(job, 30) for job in at_once] == [True] * 4
    at_once = [await taken(worklist) for _ in range(2)]
    third = asyncio.create_task(worklist.take())
    await asyncio.sleep(100)
    assert not third.done(), "half of four"
    worklist.done(at_once[0])
    assert await third is not None
    assert await worklist.take() is not None, "one that is done makes room for itself and another"


@pytest.mark.parametrize(("every", "images"), [(4, 4), (2, 2)])
async def test_a_registry_that_admits_little_at_a_time_is_come_to_an_end_with(
    world: World, lists: Lists, every: int, images: int
) -> None:
    """Fewer requests between two pauses than there are images, and than one image needs."""
    for number in range(images):
        world.upstream.add(f"demo/app{number}", image(number))
    admitted = 0

    async def sometimes(request: web.Request) -> web.StreamResponse:
        nonlocal admitted
        admitted += 1
        if admitted % every == 0:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return world.upstream._registry(request)

    world.upstream.character = sometimes
    lists.write(*(f"{REGISTRY}/demo/app{number}:v1" for number in range(images)))
    async with world.caching() as client:
        code, document = await lists.fill(client.url, referrers=True)
    assert code == 0, document
    assert [each["complete"] for each in document["images"]] == [True] * images


@pytest.mark.parametrize("take", [lambda names: names, reversed])
async def test_the_lists_order_is_kept(take: Callable[[list[str]], list[str]]) -> None:
    names = ["b.lab/x:1", "a.lab/x:1", "b.lab/y:1", "a.lab/y:1"]
    worklist = Worklist(named(*take(names)), patience=0)
    assert [str((await taken(worklist)).image) for _ in names] == list(take(names))
