"""A store as doors hold it: for names only."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.growing import GrowingContent
from registryd.content.naming_rules import NamingRules
from registryd.content.provenance import Provenance
from registryd.content.sought import Sought, Standing
from registryd.content.source import ContentNotFound, NotForName, OpenContent
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import Repository
from registryd.transfer.striping import STRIPES
from tests.contracts.content_store import always
from tests.fakes.images import sample_bytes
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import MemorySource, StripedSource, stripe_bytes

if TYPE_CHECKING:
    from registryd.content.source import Content, RangeOf

DATA = b"a layer"
DIGEST = Digest.of(DATA)
OWN, SIBLING, OTHER = map(Repository.parse, ("a.example/app", "a.example/other", "b.example/app"))


def entitled(store: MemorySource, missed: list[Sought] | None = None) -> EntitledStore:
    entitlement = Entitlement(NamingRules(AuthorizationSettings()), lambda _: False)
    return EntitledStore(store, entitlement, missed=(missed if missed is not None else []).append)


@pytest.fixture
def store() -> MemorySource:
    store = MemorySource()
    store.add(DIGEST, DATA)
    store.owners[DIGEST] = {OWN}
    return store


async def test_content_is_given_with_what_it_is_to_the_name(store: MemorySource) -> None:
    given = entitled(store)
    assert (await given.find(Sought(DIGEST, OWN))).standing is Standing.REPOSITORY
    opened = await given.open(Sought(DIGEST, SIBLING), Span.whole)
    assert opened.content.standing is Standing.REGISTRY
    await opened.body.aclose()


@pytest.mark.parametrize(
    "sought", [Sought(DIGEST, OTHER), Sought(DIGEST, SIBLING, only_own=True), Sought(DIGEST, None)]
)
async def test_what_is_not_for_the_name_is_not_opened(store: MemorySource, sought: Sought) -> None:
    missed: list[Sought] = []
    given = entitled(store, missed)
    with pytest.raises(NotForName):
        await given.find(sought)
    assert not missed, "whoever looks is not going to fetch it"
    with pytest.raises(NotForName):
        await given.open(sought, Span.whole)
    assert missed == [sought]
    assert not store.opened


async def test_what_is_not_here_is_not_found_for_any_name(store: MemorySource) -> None:
    missed: list[Sought] = []
    absent = Sought(Digest.of(b"absent"), OWN)
    with pytest.raises(ContentNotFound) as caught:
        await entitled(store, missed).open(absent, Span.whole)
    assert not isinstance(caught.value, NotForName)
    assert missed == [absent]


class Exchanged(MemorySource):
    """What is arriving is given up between the question and the opening; then it arrives for another name."""

    def __init__(self) -> None:
        super().__init__()
        self.add(DIGEST, DATA)
        self.owners[DIGEST] = {OWN}

    async def find(self, digest: Digest) -> Content:
        content = await super().find(digest)
        return GrowingContent(digest, content.size, None, 3)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        opened = await super().open(digest, wanted)
        self.owners[DIGEST] = {OTHER}
        return OpenContent(GrowingContent(digest, len(DATA), None, 3), opened.span, opened.body)


async def test_another_ingest_of_the_same_content_is_not_given_for_the_name_of_the_one_before() -> None:
    store = Exchanged()
    with pytest.raises(NotForName):
        await entitled(store).open(Sought(DIGEST, OWN), Span.whole)
    assert store.left_open == 0


# Stripes

LAYER = sample_bytes(2 * 1024 * 1024)


class ExchangedInStripes(StripedSource):
    """The same, of a layer that is given in stripes."""

    def __init__(self) -> None:
        super().__init__()
        self.add(DIGEST, LAYER)
        self.owners[DIGEST] = {OWN}

    async def find(self, digest: Digest) -> Content:
        content = await super().find(digest)
        return GrowingContent(digest, content.size, "a/layer", content.size)

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        opened = await super().open_stripe(digest, stripe, wanted)
        self.owners[DIGEST] = {OTHER}
        return replace(opened, content=GrowingContent(digest, len(LAYER), "a/layer", len(LAYER)))


@pytest.fixture
def striped() -> StripedSource:
    store = StripedSource()
    store.add(DIGEST, LAYER)
    store.owners[DIGEST] = {OWN}
    return store


@pytest.mark.parametrize("stripe", range(STRIPES))
async def test_a_stripe_is_given_with_what_the_content_is_to_the_name(striped: StripedSource, stripe: int) -> None:
    given, part = entitled(striped), stripe_bytes(LAYER, stripe)
    found = await given.find(Sought(DIGEST, OWN, stripe=stripe))
    assert (found.size, found.standing) == (len(part), Standing.REPOSITORY)
    opened = await given.open(Sought(DIGEST, SIBLING, stripe=stripe), always(Span(5, 9)))
    async with aclosing(opened.body) as body:
        await body.send_to(sink := FakeSink())
    assert (opened.content.size, opened.content.standing) == (len(part), Standing.REGISTRY)
    assert sink.data == part[5:9]


@pytest.mark.parametrize(
    "sought",
    [
        Sought(DIGEST, OTHER, stripe=0),
        Sought(DIGEST, SIBLING, only_own=True, stripe=3),
        Sought(DIGEST, None, stripe=7),
    ],
)
async def test_stripes_of_what_is_not_for_the_name_are_not_opened(striped: StripedSource, sought: Sought) -> None:
    missed: list[Sought] = []
    given = entitled(striped, missed)
    with pytest.raises(NotForName):
        await given.find(sought)
    assert not missed
    with pytest.raises(NotForName):
        await given.open(sought, Span.whole)
    assert missed == [sought]
    assert not striped.opened


async def test_stripes_of_another_ingest_are_not_given_for_the_name_of_the_one_before() -> None:
    store = ExchangedInStripes()
    with pytest.raises(NotForName):
        await entitled(store).open(Sought(DIGEST, OWN, stripe=1), Span.whole)
    assert len(store.opened) == 1
    assert store.left_open == 0


async def test_a_store_without_stripes_gives_none(store: MemorySource) -> None:
    given = entitled(store)
    with pytest.raises(ContentNotFound, match="nothing is given in stripes"):
        await given.find(Sought(DIGEST, OWN, stripe=0))
    with pytest.raises(ContentNotFound, match="nothing is given in stripes"):
        await given.open(Sought(DIGEST, OWN, stripe=0), Span.whole)
    assert not store.opened


async def test_what_is_only_expected_is_judged_by_what_is_told_of_it(store: MemorySource) -> None:
    coming, told = GrowingContent(DIGEST, 10, None, 0), Provenance(frozenset({OTHER}))
    given = entitled(store)
    assert (await given.entitled(Sought(DIGEST, OTHER), coming, told)).standing is Standing.REPOSITORY
    with pytest.raises(NotForName):
        await given.entitled(Sought(DIGEST, OWN), coming, told)
