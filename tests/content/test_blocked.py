"""What is blocked is given to nobody and taken from nobody, by digest or by name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.content.blocked import Blocklist, BlockRules, ContentBlocked, Unblocked
from registryd.content.sought import Sought
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import Registry, Repository, Tag, TaggedName
from registryd.transfer.body import BytesBody
from registryd.transfer.errors import SourceBroken
from registryd.transfer.striping import STRIPES
from tests.fakes.entitled import given, sought
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import MemorySource, StripedSource

if TYPE_CHECKING:
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

DATA, OTHER = b"must not spread", b"may spread"
DIGEST = Digest.of(DATA)
REPOSITORY = Repository(Registry("ghcr.io"), "corp/app")


def listed(*lines: str) -> Blocklist:
    return Blocklist(BlockRules.parse(lines))


def test_a_rule_is_a_digest_or_a_pattern_and_the_rest_is_none() -> None:
    rules = BlockRules.parse(["", "# why", f"{DIGEST}  # leaked", "ghcr.io/corp/*", "*:latest"])
    assert rules.digests == {DIGEST}
    assert [rules.matches(name) for name in ("ghcr.io/corp/app", "docker.io/a:latest", "docker.io/a:1")] == [
        True,
        True,
        False,
    ]


def test_a_name_by_digest_is_a_digest() -> None:
    rules = BlockRules.parse([f"ghcr.io/corp/app@{DIGEST}", f"ghcr.io/corp/app:v1@{DIGEST}"])
    assert rules.digests == {DIGEST}
    assert not rules.patterns


def test_a_pattern_that_names_no_registry_is_told_of() -> None:
    lines = (
        "nginx:1.25",
        "library/nginx",
        "***x",
        "*:latest",
        "docker.io/library/nginx",
        "localhost/a",
        "reg:5000/a:*",
    )
    assert BlockRules.parse(lines).useless == ("nginx:1.25", "library/nginx")


@pytest.mark.parametrize("line", ["sha256:abc", "sha512:", "sha1:" + "a" * 40])
def test_a_digest_that_is_none_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        BlockRules.parse([line])


@pytest.mark.parametrize(
    ("lines", "reference", "is_blocked"),
    [
        (["ghcr.io/corp/*"], Tag("v1"), True),
        (["ghcr.io/corp/*"], Digest.of(OTHER), True),
        (["ghcr.io/corp/app:v1"], Tag("v1"), True),
        (["ghcr.io/corp/app:v1"], Tag("v2"), False),
        ([str(DIGEST)], DIGEST, True),
        ([str(DIGEST)], Digest.of(OTHER), False),
        (["ghcr.io/other/*"], Tag("v1"), False),
    ],
)
def test_what_a_request_names(lines: list[str], reference: Tag | Digest, *, is_blocked: bool) -> None:
    assert listed(*lines).has_named(REPOSITORY, reference) is is_blocked


async def test_a_store_gives_nothing_of_it_from_the_moment_it_is_listed() -> None:
    source = MemorySource()
    for data in (DATA, OTHER):
        source.add(Digest.of(data), data)
    blocklist = Blocklist()
    unblocked = Unblocked(given(source), blocklist)
    assert (await unblocked.find(sought(DIGEST))).size == len(DATA)
    blocklist.rules = BlockRules.parse([str(DIGEST)])
    with pytest.raises(ContentBlocked):
        await unblocked.find(sought(DIGEST))
    with pytest.raises(ContentBlocked):
        await unblocked.open(sought(DIGEST), Span.whole)
    assert (await unblocked.find(sought(Digest.of(OTHER)))).size == len(OTHER)
    blocklist.rules, blocklist.of_images = BlockRules(), {Digest.of(OTHER)}
    with pytest.raises(ContentBlocked):
        await unblocked.find(sought(Digest.of(OTHER)))


@pytest.mark.parametrize("line", [str(DIGEST), "registry.example/demo/*"])
async def test_a_store_gives_no_stripe_of_it_either(line: str) -> None:
    source = StripedSource()
    source.add(DIGEST, DATA)
    blocklist = Blocklist()
    unblocked = Unblocked(given(source), blocklist)
    stripe = replace(sought(DIGEST), stripe=0)
    assert (await unblocked.find(stripe)).size == len(DATA)
    opened = await unblocked.open(stripe, Span.whole)
    blocklist.rules = BlockRules.parse([line])
    for number in range(STRIPES):
        with pytest.raises(ContentBlocked):
            await unblocked.find(replace(stripe, stripe=number))
        with pytest.raises(ContentBlocked):
            await unblocked.open(replace(stripe, stripe=number), Span.whole)
    assert "blocked" in await ending(opened.body, sink := FakeSink())
    assert sink.sent == 0
    await opened.body.aclose()


async def test_a_blocked_name_means_nothing() -> None:
    unblocked = Unblocked(given(MemorySource()), listed("ghcr.io/corp/*"))
    assert await unblocked.resolve(TaggedName(REPOSITORY, Tag("v1"))) == ()


async def test_a_body_under_way_ends_when_it_comes_to_be_blocked_and_others_go_on() -> None:
    blocklist, halting = Blocklist(), [HaltingBody(), HaltingBody()]
    sinks, bodies = (
        [FakeSink(), FakeSink()],
        [blocklist.guard(sought(Digest.of(data)), body) for data, body in zip((DATA, OTHER), halting, strict=True)],
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ending(body, sink)) for body, sink in zip(bodies, sinks, strict=True)]
        for body in halting:
            await body.has_begun.wait()
        blocklist.rules = BlockRules.parse([str(DIGEST)])
        assert blocklist.cut() == 1
        assert "blocked (images.block)" in await tasks[0]
        halting[1].may_end.set()
    assert tasks[1].result() == ""
    assert [bytes(sink.data) for sink in sinks] == [b"half", b"half, whole"]
    assert not len(blocklist.bodies)


async def test_what_was_opened_before_it_was_blocked_is_not_begun() -> None:
    blocklist, sink = Blocklist(), FakeSink()
    body = blocklist.guard(sought(DIGEST), BytesBody(DATA))
    blocklist.of_images = {DIGEST}
    assert "blocked" in await ending(body, sink)
    assert sink.sent == 0


async def test_a_repository_that_is_blocked_is_so_before_its_image_is_here() -> None:
    source = MemorySource()
    source.add(DIGEST, DATA)
    unblocked = Unblocked(given(source), listed("ghcr.io/corp/*"))
    with pytest.raises(ContentBlocked):
        await unblocked.find(Sought(DIGEST, REPOSITORY))


class HaltingBody:
    """Half of it, then nothing until it may end."""

    length = 11

    def __init__(self) -> None:
        self.has_begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def send_to(self, sink: Sink) -> None:
        await sink.write(b"half")
        self.has_begun.set()
        await self.may_end.wait()
        await sink.write(b", whole")

    async def aclose(self) -> None:
        """Nothing is held."""


async def ending(body: Body, sink: FakeSink) -> str:
    """Why it broke off; empty when it did not."""
    try:
        await body.send_to(sink)
    except SourceBroken as error:
        return str(error)
    return ""
