"""The same questions to a real registry: Debian's docker-registry."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lab.errors import UnavailableError
from lab.images import make_image
from lab.origin import CREDENTIALS, running_origin
from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import RegistryClient, open_client
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import UpstreamDenied, UpstreamMissing
from registryd.upstream.proxies import Proxies
from registryd.upstream.public import Verdict, open_public_repositories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.origin import Origin

APP = Repository(Registry("registry.example"), "demo/app")
TAG = Tag("v1")


@pytest.fixture
async def origin(request: pytest.FixtureRequest, tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Origin]:
    address = f"127.0.0.1:{unused_tcp_port}"
    try:
        async with running_origin(tmp_path, address=address, is_private=request.param) as origin:
            yield origin
    except UnavailableError as error:
        if os.environ.get("TESTS_MAY_SKIP", "yes") == "no":
            pytest.fail(f"may not be skipped: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(clock=time.monotonic, proxies=Proxies()) as client:
        yield client


open_to_all = pytest.mark.parametrize("origin", [False], indirect=True, ids=["open"])
private = pytest.mark.parametrize("origin", [True], indirect=True, ids=["private"])


@open_to_all
async def test_what_is_open_is_public_and_complete(client: RegistryClient, origin: Origin, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    await origin.push(image, APP.path)
    endpoint = Endpoint.parse(origin.url)
    head = await client.head_manifest(endpoint, APP, TAG)
    assert (head.media_type, str(head.digest), head.size) == (image.root.media_type, image.root.digest, image.root.size)
    manifest = await client.get_manifest(endpoint, APP, Digest.parse(image.root.digest))
    assert manifest.data == image.layout.read(image.root.digest)
    layer = image.local.layers[0]
    async with client.open_blob(endpoint, APP, Digest.parse(layer.digest), start=10) as blob:
        assert blob.start == 10
        assert b"".join([chunk async for chunk in blob.chunks]) == image.layout.read(layer.digest)[10:]
    with pytest.raises(UpstreamMissing):
        await client.head_manifest(endpoint, APP, Tag("v2"))
    async with open_public_repositories(AnonymousClient(client, lambda _: [endpoint])) as public:
        assert await public.check(APP, TAG) is Verdict.PUBLIC
        await origin.stop()
        assert await public.check(APP, TAG) is Verdict.PUBLIC, "it said so a moment ago"


@private
async def test_what_asks_for_credentials_is_not_public(client: RegistryClient, origin: Origin, tmp_path: Path) -> None:
    await origin.push(make_image(tmp_path / "image"), APP.path)
    login = Credentials(CREDENTIALS.username, CREDENTIALS.password)
    endpoint = replace(Endpoint.parse(origin.url), credentials=login)
    await client.head_manifest(endpoint, APP, TAG)
    with pytest.raises(UpstreamDenied):
        await client.head_manifest(replace(endpoint, credentials=Credentials("puller", "wrong")), APP, TAG)
    async with open_public_repositories(AnonymousClient(client, lambda _: [endpoint])) as public:
        assert await public.check(APP, TAG) is Verdict.NOT_PUBLIC
        assert await public.upstream_reachable(APP.registry)
