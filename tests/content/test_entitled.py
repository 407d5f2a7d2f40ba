"""A store as doors hold it: for names only."""

from __future__ import annotations

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
from tests.fakes.sources import MemorySource

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


async def test_what_is_only_expected_is_judged_by_what_is_told_of_it(store: MemorySource) -> None:
    coming, told = GrowingContent(DIGEST, 10, None, 0), Provenance(frozenset({OTHER}))
    given = entitled(store)
    assert (await given.entitled(Sought(DIGEST, OTHER), coming, told)).standing is Standing.REPOSITORY
    with pytest.raises(NotForName):
        await given.entitled(Sought(DIGEST, OWN), coming, told)
