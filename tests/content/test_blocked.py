"""What is blocked is given to nobody and taken from nobody, by digest or by name."""

from __future__ import annotations

import pytest

from registryd.content.blocked import Blocklist, BlockRules, ContentBlocked, Unblocked
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import Registry, Repository, Tag, TaggedName
from tests.fakes.entitled import given, sought
from tests.fakes.sources import MemorySource

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


async def test_a_blocked_name_means_nothing() -> None:
    unblocked = Unblocked(given(MemorySource()), listed("ghcr.io/corp/*"))
    assert await unblocked.resolve(TaggedName(REPOSITORY, Tag("v1"))) == ()
