from __future__ import annotations

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from registryd.content.naming_rules import NamingRules
from registryd.failures import SettingsError
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag

OPEN, PUBLIC, UPSTREAM = AuthorizationMode.OPEN, AuthorizationMode.PUBLIC, AuthorizationMode.UPSTREAM
SPELLINGS = ["secret.example", "SECRET.example", "secret.example:443", "secret.example:0443", "secret.example."]


def excluding(*patterns: str) -> NamingRules:
    return NamingRules(AuthorizationSettings(exclude=patterns))


@pytest.mark.parametrize("setting", SPELLINGS)
@pytest.mark.parametrize("asked", SPELLINGS)
def test_modes_are_for_registries_however_they_are_written(setting: str, asked: str) -> None:
    rules = NamingRules(AuthorizationSettings(mode=OPEN, registries={setting: UPSTREAM}))
    assert rules.mode(Registry(asked)) is UPSTREAM
    assert rules.mode(Registry("other.example")) is OPEN
    assert rules.mode(Registry("secret.example:5000")) is OPEN


def test_docker_hub_is_one_registry() -> None:
    rules = NamingRules(
        AuthorizationSettings(registries={"index.docker.io": UPSTREAM}, exclude=("registry-1.docker.io/a/*",))
    )
    assert rules.mode(Registry("docker.io")) is UPSTREAM
    assert rules.excludes(Repository.parse("docker.io/a/b"))


@pytest.mark.parametrize("setting", [*SPELLINGS, "*:443", "*.example", "s*t.EXAMPLE:0443"])
@pytest.mark.parametrize("asked", SPELLINGS)
def test_patterns_are_for_registries_however_they_are_written(setting: str, asked: str) -> None:
    rules = excluding(f"{setting}/acme/*")
    assert rules.excludes(Repository(Registry(asked), "acme/app"))
    assert not rules.excludes(Repository(Registry(asked), "other/app"))


def test_an_address_of_ipv6_is_no_set_of_characters() -> None:
    rules = excluding("[2001:DB8::0:1]:05000/acme/*")
    assert rules.excludes(Repository.parse("[2001:db8::1]:5000/acme/app"))
    assert not rules.excludes(Repository.parse("b/acme/app"))


@pytest.mark.parametrize(
    ("reference", "is_excluded"),
    [(Tag("latest"), True), (Tag("v1"), False), (None, False), (Digest.of(b""), False)],
)
def test_a_pattern_with_a_tag_is_for_that_tag(reference: Tag | Digest | None, *, is_excluded: bool) -> None:
    repository = Repository.parse("docker.io/library/alpine")
    for pattern in ("*:latest", "docker.io/*:latest"):
        assert excluding(pattern).excludes(repository, reference) is is_excluded


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(SettingsError, match="twice"):
        NamingRules(AuthorizationSettings(registries={"a.example": OPEN, "A.example:443": PUBLIC}))
    rules = NamingRules(AuthorizationSettings(registries={"a.example": OPEN, "A.example:443": OPEN}))
    assert rules.mode(Registry("a.example")) is OPEN


def test_a_mode_of_what_is_no_registry_is_refused() -> None:
    with pytest.raises(SettingsError, match="not a registry"):
        NamingRules(AuthorizationSettings(registries={"*.example": OPEN}))
