"""Logins as Docker keeps them, and refresh tokens in use."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.oci.reference import Registry, Repository
from registryd.upstream.credentials import Credentials, IdentityToken
from registryd.upstream.docker_config import DockerConfig
from registryd.upstream.errors import UpstreamDenied
from tests.upstream.world import PRIVATE, TAG, at

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.upstream.client import RegistryClient
    from registryd.upstream.credentials import Login
    from tests.fakes.upstream import FakeUpstream

HUB, GHCR = Registry("docker.io"), Registry("ghcr.io")
AUTH = base64.b64encode(b"me:pass:word").decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `docker-credential-lab`, which counts how often it was asked and answers what stands in a file."""
    program = tmp_path / "bin" / "docker-credential-lab"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat >> {tmp_path}/asked; echo >> {tmp_path}/asked\n. {tmp_path}/answer\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


async def login(path: Path, registry: Registry, document: object, *, repository: str = "team/app") -> Login | None:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return await DockerConfig(path, clock=lambda: 0.0).login(Repository(registry, repository))


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", GHCR),
        ("https://ghcr.io", GHCR),
        ("https://ghcr.io/v2/", GHCR),
        ("https://index.docker.io/v1/", HUB),
        ("docker.io", HUB),
        ("index.docker.io/v1/", HUB),
        ("registry-1.docker.io", HUB),
    ],
)
async def test_a_registry_is_found_by_each_of_its_keys(path: Path, key: str, registry: Registry) -> None:
    assert await login(path, registry, {"auths": {key: {"auth": AUTH}}}) == Credentials("me", "pass:word")
    assert await login(path, Registry("other.example"), {"auths": {key: {"auth": AUTH}}}) is None


@pytest.mark.parametrize(
    ("repository", "user"),
    [
        ("org/app", "org"),
        ("org", "org"),
        ("org/team/app", "team"),
        ("org/team", "team"),
        ("organisation/app", "all"),
        ("other/org/app", "all"),
    ],
)
async def test_a_key_with_a_path_is_for_what_is_below_it(path: Path, repository: str, user: str) -> None:
    keys = {"ghcr.io/org": "org", "ghcr.io": "all", "ghcr.io/org/team": "team", "quay.io/org/team/app": "another"}
    auths = {key: {"auth": base64.b64encode(f"{name}:secret".encode()).decode()} for key, name in keys.items()}
    assert await login(path, GHCR, {"auths": auths}, repository=repository) == Credentials(user, "secret")
    del auths["ghcr.io"]
    found = await login(path, GHCR, {"auths": auths}, repository=repository)
    assert found == (None if user == "all" else Credentials(user, "secret"))


async def test_an_identity_token_goes_before_a_password(path: Path) -> None:
    entry = {"auth": AUTH, "identitytoken": "refresh"}
    assert await login(path, GHCR, {"auths": {"ghcr.io": entry}}) == IdentityToken("refresh")


@pytest.mark.parametrize(
    "document", ["{", "[]", {"auths": {"ghcr.io": {"auth": "?"}}}, {"credHelpers": {"ghcr.io": "../x"}}]
)
async def test_what_cannot_be_understood_is_said_without_quoting_it(path: Path, document: object) -> None:
    with pytest.raises(UpstreamDenied) as caught:
        await login(path, GHCR, document)
    assert AUTH not in str(caught.value)


async def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(UpstreamDenied, match="cannot be read"):
        await DockerConfig(path, clock=lambda: 0.0).login(Repository(GHCR, "team/app"))


async def test_a_named_pipe_in_its_place_is_refused_without_waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(UpstreamDenied, match="cannot be read"):
        await DockerConfig(path, clock=lambda: 0.0).login(Repository(GHCR, "team/app"))


async def test_a_helper_is_asked_for_its_registries_once_in_a_while(path: Path, helper: Path) -> None:
    (helper / "answer").write_text("""echo '{"ServerURL": "ghcr.io", "Username": "me", "Secret": "s"}'""")
    path.write_text(json.dumps({"credHelpers": {"ghcr.io": "lab"}}))
    now = [0.0]
    config = DockerConfig(path, clock=lambda: now[0])
    for moment in (0.0, 100.0, 400.0):
        now[0] = moment
        assert await config.login(Repository(GHCR, "team/app")) == Credentials("me", "s")
    assert await config.login(Repository(HUB, "team/app")) is None
    assert (helper / "asked").read_text().split() == ["ghcr.io", "ghcr.io"]


async def test_the_store_of_credentials_has_the_hub_under_its_old_name(path: Path, helper: Path) -> None:
    (helper / "answer").write_text("""echo '{"Username": "<token>", "Secret": "refresh"}'""")
    assert await login(path, HUB, {"credsStore": "lab"}) == IdentityToken("refresh")
    assert (helper / "asked").read_text().split() == ["https://index.docker.io/v1/"]


async def test_a_helper_without_a_login(path: Path, helper: Path) -> None:
    (helper / "answer").write_text("echo 'credentials not found in native keychain'; exit 1")
    assert await login(path, GHCR, {"credsStore": "lab"}) is None


@pytest.mark.parametrize("answer", ["exit 1", "echo nothing", "echo '{}'"])
async def test_a_helper_that_does_not_work(path: Path, helper: Path, answer: str) -> None:
    (helper / "answer").write_text(answer)
    with pytest.raises(UpstreamDenied, match="docker-credential-lab"):
        await login(path, GHCR, {"credHelpers": {"ghcr.io": "lab"}})


async def test_a_helper_that_is_not_installed(path: Path) -> None:
    with pytest.raises(UpstreamDenied, match="docker-credential-absent"):
        await login(path, GHCR, {"credHelpers": {"ghcr.io": "absent"}})


# Refresh tokens, and headers of an endpoint


async def test_a_refresh_token_is_changed_into_an_access_token(client: RegistryClient, upstream: FakeUpstream) -> None:
    forms = []

    async def tokens(request: web.Request) -> web.StreamResponse:
        forms.append((request.method, dict(await request.post())))
        upstream.valid_tokens.add("all.fresh")
        return web.json_response({"access_token": "all.fresh", "expires_in": 300})

    upstream.token_character = tokens
    endpoint = replace(at(upstream), credentials=IdentityToken("refresh"))
    for _ in range(2):
        await client.head_manifest(endpoint, PRIVATE, TAG)
    assert forms == [
        (
            "POST",
            {
                "grant_type": "refresh_token",
                "service": "fake",
                "client_id": "registryd",
                "scope": "repository:demo/private:pull",
                "refresh_token": "refresh",
            },
        )
    ]


def test_secrets_are_not_shown() -> None:
    assert "refresh" not in repr(IdentityToken("refresh"))
