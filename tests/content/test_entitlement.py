"""Who may have which content: by what is known of it where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.content.entitlement import Entitlement
from registryd.content.growing import GrowingContent
from registryd.content.naming_rules import NamingRules
from registryd.content.provenance import Provenance
from registryd.content.sought import Sought, Standing
from registryd.content.source import Content
from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from registryd.oci.digest import Digest
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Collection

DIGEST = Digest.of(b"")
LAYER = Content(DIGEST, 10_000_000, "application/vnd.oci.image.layer.v1.tar+gzip")
MANIFEST = Content(DIGEST, 500, OCI_MANIFEST)
SECRET, SIBLING, ELSEWHERE, PUBLIC = map(
    Repository.parse,
    ("private.example/secret/app", "private.example/other/app", "attacker.example/x", "hub.example/library/base"),
)
OPEN, MODE_PUBLIC, UPSTREAM = AuthorizationMode.OPEN, AuthorizationMode.PUBLIC, AuthorizationMode.UPSTREAM


def standing(  # noqa: PLR0913 - what a decision depends on, all named
    wanted: Repository | None,
    *known: Repository,
    content: Content = LAYER,
    exclude: Collection[str] = (),
    mode: AuthorizationMode = MODE_PUBLIC,
    registries: dict[str, AuthorizationMode] | None = None,
    namers: Collection[Repository] = (),
) -> Standing | None:
    settings = AuthorizationSettings(mode=mode, registries=registries or {}, exclude=tuple(exclude))
    entitlement = Entitlement(NamingRules(settings), lambda repository: repository == PUBLIC)
    listed = frozenset(namers)
    return entitlement.standing(Sought(DIGEST, wanted), content, Provenance(frozenset(known)), lambda _: listed)


def test_content_of_the_repository_itself_is_its_own() -> None:
    assert standing(SECRET, SECRET) is Standing.REPOSITORY
    assert standing(SECRET, SECRET, SIBLING, PUBLIC, content=MANIFEST) is Standing.REPOSITORY


def test_blobs_are_the_registrys_and_manifests_the_repositorys() -> None:
    assert standing(SIBLING, SECRET) is Standing.REGISTRY
    for media_type in (OCI_MANIFEST, OCI_INDEX):
        assert standing(SIBLING, SECRET, content=Content(DIGEST, 500, media_type)) is None


def test_what_is_arriving_and_may_be_a_manifest_is_treated_as_one() -> None:
    assert standing(SIBLING, SECRET, content=GrowingContent(DIGEST, 500, None, 100)) is None
    assert (
        standing(SIBLING, SECRET, content=GrowingContent(DIGEST, MAX_MANIFEST_SIZE + 1, None, 100)) is Standing.REGISTRY
    )
    assert standing(SECRET, SECRET, content=GrowingContent(DIGEST, 500, None, 100)) is Standing.REPOSITORY


@pytest.mark.parametrize("content", [LAYER, MANIFEST])
def test_another_registry_gets_nothing_but_what_is_anyones(content: Content) -> None:
    assert standing(ELSEWHERE, SECRET, content=content) is None
    assert standing(ELSEWHERE, content=content) is None
    assert standing(ELSEWHERE, SECRET, PUBLIC, content=content) is Standing.ANYONES


@pytest.mark.parametrize("mode", [MODE_PUBLIC, UPSTREAM])
def test_that_an_image_names_content_says_nothing(mode: AuthorizationMode) -> None:
    assert standing(ELSEWHERE, SECRET, namers=[ELSEWHERE, SECRET], mode=mode) is None
    assert standing(ELSEWHERE, namers=[ELSEWHERE], mode=mode) is None


def test_where_anyone_may_have_everything_what_an_image_lists_is_its_own() -> None:
    modes = {"private.example": OPEN}
    for content in (LAYER, MANIFEST):
        assert standing(SIBLING, namers=[SIBLING], registries=modes, content=content) is Standing.REPOSITORY
        assert standing(SIBLING, PUBLIC, namers=[SIBLING], registries=modes, content=content) is Standing.REPOSITORY
    assert standing(ELSEWHERE, SECRET, namers=[ELSEWHERE], registries=modes) is None
    # An open registry gets nothing that only others name.
    assert standing(SIBLING, ELSEWHERE, namers=[ELSEWHERE], registries=modes) is None


def test_what_has_no_name_is_everyones_where_everything_is_open() -> None:
    assert standing(SECRET, mode=OPEN) is Standing.REPOSITORY
    assert standing(SECRET, mode=MODE_PUBLIC) is None


@pytest.mark.parametrize("mode", [MODE_PUBLIC, OPEN])
def test_excluded_names_count_for_nothing(mode: AuthorizationMode) -> None:
    only = {"exclude": ["private.example:443/secret/*"], "mode": mode}
    assert standing(SECRET, SECRET, **only) is None  # type: ignore[arg-type]
    assert standing(SECRET, SIBLING, **only) is None  # type: ignore[arg-type]
    assert standing(SIBLING, SECRET, **only) is None  # type: ignore[arg-type]
    assert standing(SIBLING, SECRET, namers=[SECRET], **only) is None  # type: ignore[arg-type]
    assert standing(SIBLING, SECRET, SIBLING, **only) is Standing.REPOSITORY  # type: ignore[arg-type]
    assert standing(ELSEWHERE, SECRET, PUBLIC, **only) is Standing.ANYONES  # type: ignore[arg-type]


def test_what_is_public_and_excluded_is_not_given() -> None:
    assert standing(ELSEWHERE, PUBLIC, exclude=["hub.example/*"]) is None


def test_who_does_not_say_for_whom_gets_what_is_anyones() -> None:
    assert standing(None, SECRET) is None
    assert standing(None) is None
    assert standing(None, SECRET, PUBLIC) is Standing.ANYONES


def test_who_does_not_say_for_whom_gets_what_is_of_open_registries() -> None:
    modes = {"private.example": OPEN}
    assert standing(None, SECRET, registries=modes) is Standing.REGISTRY
    assert standing(None, ELSEWHERE, registries=modes) is None
    assert standing(None, namers=[SECRET], registries=modes) is Standing.REGISTRY
    assert standing(None, SECRET, registries=modes, exclude=["private.example/secret/*"]) is None


def test_what_is_nobodys_is_given_to_anyone() -> None:
    rules = NamingRules(AuthorizationSettings(exclude=("*",)))
    entitlement = Entitlement(rules, lambda _: False)
    for wanted in (SECRET, None):
        sought = Sought(DIGEST, wanted)
        found = entitlement.standing(sought, LAYER, Provenance(is_nobodys=True), lambda _: frozenset())
        assert found is Standing.REPOSITORY


@pytest.mark.parametrize(
    ("sought", "accepted"),
    [
        (Sought(DIGEST, SECRET), {Standing.REPOSITORY, Standing.REGISTRY, Standing.ANYONES}),
        (Sought(DIGEST, SECRET, only_own=True), {Standing.REPOSITORY}),
        (Sought(DIGEST, SECRET, only_own=True, accepts_unsaid=True), {Standing.REPOSITORY, None}),
        (Sought(DIGEST, SECRET, accepts_unsaid=True), {*Standing, None}),
    ],
)
def test_what_will_do(sought: Sought, accepted: set[Standing | None]) -> None:
    assert {each for each in (*Standing, None) if sought.accepts(each)} == accepted
