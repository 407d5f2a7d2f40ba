"""Whom a cache gives what it has fetched with a login of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.agent.exposure import check_exposure
from registryd.caching.registries import Registries
from registryd.config.agent import (
    AuthorizationMode,
    AuthorizationSettings,
    PeersSettings,
    RegistrySettings,
    Settings,
    SettingsError,
)
from registryd.config.cache import CacheSettings, RegistryUpstream, UpstreamsSettings
from registryd.identity.secret import new_secret
from registryd.notation import Address
from registryd.oci.reference import Registry, Repository
from tests.fakes.images import OCI_LAYER, oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.caching.world import World

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)
PATHS = ["manifests/v1", f"manifests/{IMAGE.target.digest}", f"blobs/{LAYER}"]


@pytest.fixture
async def private(world: World, tmp_path: Path) -> AsyncIterator[World]:
    """An upstream that asks for a token, and a cache that has its password."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    async with open_upstream(FakeUpstream(challenge="bearer")) as upstream:
        upstream.add("demo/public", IMAGE)
        upstream.add("demo/private", IMAGE, public=False)
        world.upstream = upstream
        world.table = RegistryUpstream(username="pull", password_file=password)
        yield world


def mode(name: str) -> AuthorizationSettings:
    return AuthorizationSettings(mode=AuthorizationMode(name))


async def test_public_gives_what_the_upstream_gives_to_anyone(private: World) -> None:
    async with private.caching() as client:
        for path in PATHS:
            assert (await client.get(f"demo/public/{path}")).status == 200
            assert (await client.get(f"demo/private/{path}")).status == 404


async def test_open_gives_everything(private: World) -> None:
    private.authorization = mode("open")
    async with private.caching() as client:
        assert [(await client.get(f"demo/private/{path}")).status for path in PATHS] == [200] * 3


async def test_upstream_gives_bytes_to_who_knows_their_digest(private: World) -> None:
    private.authorization = mode("upstream")
    async with private.caching() as client:
        assert [(await client.get(f"demo/private/{path}")).status for path in PATHS] == [404, 200, 200]
        assert [(await client.head(f"demo/private/{path}")).status for path in PATHS] == [404] * 3


async def test_without_a_login_everything_is_public(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 200
    assert len(world.upstream.seen) == 1  # for the manifest; nobody was asked whether it is public


async def test_a_certificate_of_ours_is_a_login_too(world: World, tmp_path: Path) -> None:
    settings = UpstreamsSettings(registries={"ghcr.io": RegistryUpstream(client_cert=tmp_path, client_key=tmp_path)})
    registries = Registries(settings, world.cache)
    ghcr = Registry("ghcr.io")
    assert await registries.has_login(Repository(ghcr, "team/app"))
    assert [place.trust.client_certificate for place in registries.places(ghcr)] == [tmp_path]
    assert [place.trust.client_certificate for place in registries.anonymous_endpoints(ghcr)] == [None]
    with pytest.raises(SettingsError, match=r"cache\.token_file"):
        check_exposure(Settings(authorization=mode("open"), upstreams=settings))


async def test_what_is_excluded_is_not_given(world: World) -> None:
    world.authorization = AuthorizationSettings(exclude=("*:v1",))
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 404
        assert (await client.get(f"demo/app/manifests/{IMAGE.target.digest}")).status == 200


async def test_a_token_is_asked_for(world: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(new_secret())
    token.chmod(0o600)
    world.cache = replace(world.cache, token_file=token)
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/v1")).status == 404


async def test_any_registry_may_have_a_login_in_dockers_file(tmp_path: Path) -> None:
    upstreams = UpstreamsSettings(
        allow=(),
        docker_config=tmp_path / "config.json",
        registries={"ghcr.io": RegistryUpstream(mirrors=("https://m",))},
    )
    with pytest.raises(SettingsError, match=r"cache\.token_file"):
        check_exposure(Settings(authorization=mode("open"), upstreams=upstreams))
    check_exposure(Settings(authorization=mode("public"), upstreams=upstreams))


@pytest.mark.parametrize(
    ("cache", "authorization", "fits"),
    [
        (CacheSettings(), mode("public"), True),
        (CacheSettings(), mode("open"), False),
        (CacheSettings(), mode("upstream"), False),
        (CacheSettings(insecure=True), mode("open"), True),
        (CacheSettings(listen=Address("127.0.0.1", 0)), mode("open"), True),
    ],
)
def test_a_login_is_not_lent_to_whoever_reaches_the_cache(
    cache: CacheSettings, authorization: AuthorizationSettings, fits: bool, tmp_path: Path
) -> None:
    table = RegistryUpstream(username="me", password_file=tmp_path)
    settings = Settings(
        cache=cache, authorization=authorization, upstreams=UpstreamsSettings(registries={"ghcr.io": table})
    )
    if fits:
        check_exposure(settings)
    else:
        with pytest.raises(SettingsError, match=r"cache\.token_file"):
            check_exposure(settings)


def test_a_member_is_not_asked_for_the_token_of_a_registry_that_it_does_not_open() -> None:
    everywhere = Address("0.0.0.0", 3172)
    member = CacheSettings(listen=everywhere, member=True)
    check_exposure(
        Settings(cache=member, registry=RegistrySettings(listen=everywhere), peers=PeersSettings(secret_file=Path("s")))
    )
