"""Patterns of names: what they match, and that none is accepted that matches nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.config.agent import AuthorizationSettings, ImagesSettings
from registryd.config.cache import CacheSettings
from registryd.config.name_patterns import NamePattern
from registryd.content.blocked import BlockRules
from registryd.failures import SettingsError
from registryd.oci.digest import Digest

NGINX = "docker.io/library/nginx"
DIGEST = str(Digest.of(b""))
MATCHING = [
    ("*", NGINX),
    ("*:latest", f"{NGINX}:latest"),
    ("*nginx*", NGINX),
    ("docker.io/nginx", NGINX),
    ("docker.io/nginx:1.[0-9]", f"{NGINX}:1.2"),
    ("docker.io/ngin*", NGINX),
    ("docker.io/ngin*", "docker.io/nginx-team/app"),
    ("docker.io/*", "docker.io/acme/app"),
    ("index.docker.io/acme/*", "docker.io/acme/app"),
    ("REGISTRY-1.docker.io./nginx", NGINX),
    ("GHCR.io:0443/acme/app:V1", "ghcr.io/acme/app:V1"),
    ("localhost/app", "localhost/app"),
    ("registry:5000/app", "registry:5000/app"),
    ("[2001:DB8::0:1]:05000/app", "[2001:db8::1]:5000/app"),
    ("*/acme/*", "ghcr.io/acme/app"),
    ("*@sha256:*", f"{NGINX}@{DIGEST}"),
    (f"docker.io/nginx@{DIGEST}", f"{NGINX}@{DIGEST}"),
]
OTHERS = [("docker.io/nginx", "docker.io/acme/nginx"), ("ghcr.io/acme/*", "ghcr.io/acme"), ("ghcr.io/nginx", NGINX)]
OF_NO_IMAGE = [
    "",
    "nginx",
    "nginx:1.2",
    "ghcr.io",
    "ghcr.io/",
    "ghcr.io/acme/",
    "ghcr.io//acme",
    "ghcr.io/Acme/*",
    "ghcr.io/acme/app:",
    "ghcr.io/acme/app@",
    "ghcr.io/acme app",
    "ghcr.io/acme\n/*",
    "acme/*",
    "https://ghcr.io/acme/*",
    "ghcr.io:70000/acme/*",
    "gh cr.io/*",
    "/acme",
]


@pytest.mark.parametrize(("pattern", "name"), MATCHING)
def test_a_pattern_matches_however_its_registry_is_written(pattern: str, name: str) -> None:
    assert NamePattern.parse(pattern).matches(name)


@pytest.mark.parametrize(("pattern", "name"), OTHERS)
def test_a_pattern_matches_nothing_else(pattern: str, name: str) -> None:
    assert not NamePattern.parse(pattern).matches(name)


@pytest.mark.parametrize("pattern", OF_NO_IMAGE)
def test_a_pattern_that_matches_no_image_is_an_error_in_every_setting(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r"authorization\.exclude: .* matches no image"):
        AuthorizationSettings(exclude=("*:latest", pattern))
    with pytest.raises(SettingsError, match=r"cache\.pinned: .* matches no image"):
        CacheSettings(pinned=(pattern,))
    if pattern.strip():
        with pytest.raises(SettingsError, match=r"images\.keep"):
            ImagesSettings(keep=(f"{pattern} copies=2",))
        # Wrong lines of a file must not undo the others: the agent warns of them.
        assert BlockRules.parse([pattern, "*:latest"]).useless == (pattern.strip(),)
        assert BlockRules.parse([pattern, "*:latest"]).matches(f"{NGINX}:latest")


@given(st.text(alphabet="ab.:/*?[]!@-_A1\n é", max_size=20))
def test_any_text_is_a_pattern_or_an_error(text: str) -> None:
    try:
        pattern = NamePattern.parse(text)
    except ValueError:
        return
    assert pattern.matches(NGINX) in {True, False}
