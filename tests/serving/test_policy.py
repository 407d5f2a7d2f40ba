"""What may be said of a reference: each cell of the table in docs/security.md."""

from __future__ import annotations

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.content.naming_rules import NamingRules
from registryd.oci.digest import Digest
from registryd.oci.reference import Repository, Tag
from registryd.serving.policy import ModePolicy, Ruling
from tests.serving.conftest import FakePublicWord

REPOSITORY = Repository.parse("registry.example/demo/app")
OPEN, UPSTREAM, PUBLIC = AuthorizationMode.OPEN, AuthorizationMode.UPSTREAM, AuthorizationMode.PUBLIC
NOTHING, OWN, ANYTHING = Ruling.NOTHING, Ruling.WHAT_IS_ITS_OWN, Ruling.ANYTHING


@pytest.mark.parametrize(
    ("mode", "reachable", "public", "by_digest", "by_tag"),
    [
        *((OPEN, reachable, public, OWN, OWN) for reachable in (True, False) for public in (True, False)),
        *((UPSTREAM, reachable, public, NOTHING, NOTHING) for reachable in (True, False) for public in (True, False)),
        (PUBLIC, True, True, ANYTHING, NOTHING),
        (PUBLIC, True, False, NOTHING, NOTHING),
        # That anyone may pull from the repository says nothing of content that is here for another one.
        (PUBLIC, False, True, OWN, OWN),
        (PUBLIC, False, False, NOTHING, NOTHING),
    ],
)
async def test_what_may_be_said(
    mode: AuthorizationMode, *, reachable: bool, public: bool, by_digest: Ruling, by_tag: Ruling
) -> None:
    rules = NamingRules(AuthorizationSettings(mode=mode))
    policy = ModePolicy(rules, FakePublicWord(reachable=reachable, public=public))
    assert await policy.may_resolve(REPOSITORY, Digest.of(b"")) is by_digest
    assert await policy.may_resolve(REPOSITORY, Tag("v1")) is by_tag
    assert await policy.may_list(REPOSITORY, Digest.of(b"")) is (by_tag is not NOTHING)
    assert policy.may_describe(REPOSITORY) is (mode is OPEN or (mode is PUBLIC and public))
