"""Where the client lets itself be led."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from aiohttp import web

from registryd.identity.node_token import TOKEN_HEADER
from registryd.upstream.client import RegistryClient, open_client
from registryd.upstream.endpoint import Endpoint, Site
from registryd.upstream.errors import (
    DestinationForbidden,
    UpstreamBroken,
)
from registryd.upstream.proxies import Proxies
from tests.fakes import upstream as fakes
from tests.fakes.upstream import FakeUpstream, open_upstream
from tests.upstream.world import APP, IMPATIENT, LAYER, PRIVATE, TAG, at, registry


async def test_a_blob_elsewhere_is_fetched_without_our_authorization(client: RegistryClient) -> None:
    async with registry("bearer") as upstream, open_upstream(FakeUpstream(blobs={str(LAYER): b"elsewhere"})) as storage:
        endpoint = replace(at(upstream, login=fakes.USER), leads_to=frozenset({Site(storage.host, storage.port)}))
        await client.head_manifest(endpoint, PRIVATE, TAG)
        signed = f"{storage.url}/v2/x/blobs/{LAYER}?X-Signature=a%2Fb%3D"
        upstream.character = fakes.answering(307, Location=signed)
        async with client.open_blob(endpoint, PRIVATE, LAYER) as blob:
            assert b"".join([chunk async for chunk in blob.chunks]) == b"elsewhere"
        assert upstream.seen[-1].authorization
        assert [seen.authorization for seen in storage.seen] == [None]
        assert storage.seen[0].target.endswith("?X-Signature=a%2Fb%3D"), "a signature must not be quoted anew"


async def test_another_server_s_challenge_is_answered_as_anyone_would(client: RegistryClient) -> None:
    async with registry("bearer") as front, registry("bearer") as back:
        front.character = fakes.answering(307, Location=f"{back.url}/v2/demo/app/manifests/v1")
        endpoint = replace(at(front, login=fakes.USER), leads_to=frozenset({Site(back.host, back.port)}))
        await client.head_manifest(endpoint, APP, TAG)
        assert [seen.authorization for seen in back.seen if seen.path == "/token"] == [None]


async def test_the_headers_of_an_endpoint_go_to_no_other_server(client: RegistryClient) -> None:
    """Those of hosts.toml, which may be a login: neither where a redirect leads nor to the token server."""
    async with registry("none") as front, registry("bearer") as back:
        front.character = fakes.answering(307, Location=f"{back.url}/v2/demo/app/manifests/v1")
        endpoint = at(front).leading_to((back.url,))
        await client.head_manifest(replace(endpoint, headers=((TOKEN_HEADER, "ours"),)), APP, TAG)
        assert [seen.token for seen in front.seen] == ["ours"]
        assert {seen.path == "/token" for seen in back.seen} == {True, False}
        assert {seen.token for seen in back.seen} == {None}


@pytest.mark.parametrize(
    "location",
    [
        "/v2/moved/app/manifests/v1",
        "../../../moved/app/manifests/v1",
        "{authority}/v2/moved/app/manifests/v1",
        "/v2/moved/app/manifests/v1?signed=a b",
        "{url}/v2/moved/app/manifests/v1?signed=a b&more=c%20d",
    ],
)
async def test_a_redirect_is_followed_however_it_is_written(client: RegistryClient, location: str) -> None:
    async with registry("none") as upstream:
        upstream.manifests["moved/app", "v1"] = upstream.manifests[APP.path, str(TAG)]
        target = location.format(url=upstream.url, authority=upstream.url.partition(":")[2])

        async def answer(request: web.Request) -> web.StreamResponse:
            if "moved" in request.path:
                return upstream._registry(request)
            return web.Response(status=307, headers={"Location": target})

        upstream.character = answer
        assert (await client.get_manifest(at(upstream), APP, TAG)).data
        assert " " not in upstream.seen[-1].target


async def test_redirects_are_counted(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(302, Location="/v2/again")
    with pytest.raises(UpstreamBroken, match="more than 9 redirects"):
        await client.head_manifest(at(upstream), APP, TAG)
    assert len(upstream.seen) == 10


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:10250/pods",
        "http://localhost:10250/pods",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:1/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0:1/",
        "http://2130706433:1/",
    ],
)
async def test_a_redirect_or_a_realm_into_this_machine_is_not_followed(
    client: RegistryClient, upstream: FakeUpstream, location: str
) -> None:
    upstream.character = fakes.answering(307, Location=location)
    with pytest.raises(DestinationForbidden):
        await client.head_manifest(at(upstream), APP, TAG)
    upstream.character, upstream.realm = None, location
    with pytest.raises(DestinationForbidden):
        await client.head_manifest(at(upstream), APP, TAG)


async def test_a_registry_that_nobody_configured_may_not_be_here(
    client: RegistryClient, upstream: FakeUpstream
) -> None:
    for url in (upstream.url, f"http://localhost:{upstream.port}"):
        with pytest.raises(DestinationForbidden):
            await client.ping(replace(Endpoint.parse(url), is_configured=False))
    assert not upstream.seen


async def test_through_a_proxy_the_address_itself_is_still_looked_at(upstream: FakeUpstream) -> None:
    proxies = Proxies.from_environment({"HTTP_PROXY": f"http://user:secret@127.0.0.1:{upstream.port}"})
    elsewhere = replace(Endpoint.parse("http://registry.example"), is_configured=False)
    async with open_client(clock=time.monotonic, patience=IMPATIENT, proxies=proxies) as client:
        await client.ping(elsewhere)
        assert upstream.seen[-1].target == "http://registry.example/v2/", "the proxy was asked, on loopback as it is"
        assert upstream.seen[-1].proxy_authorization == "Basic dXNlcjpzZWNyZXQ="
        upstream.character = fakes.answering(302, Location="http://169.254.169.254/latest/meta-data")
        with pytest.raises(DestinationForbidden):
            await client.head_manifest(elsewhere, APP, TAG)


@pytest.mark.parametrize(
    "location",
    [
        "http://a..b/",
        "http://%61/",
        "http://b\u00fccher/",
        f"http://{'a' * 64}/",
        "",
        "//",
        "file:///etc/passwd",
        "ftp://a/b",
        "http://u:p@127.0.0.1/",
        "http://[",
        "https://a:999999/",
    ],
)
async def test_redirects_to_nowhere(client: RegistryClient, upstream: FakeUpstream, location: str) -> None:
    upstream.character = fakes.answering(302, Location=location)
    with pytest.raises(UpstreamBroken):
        await client.head_manifest(at(upstream), APP, TAG)


async def test_plain_http_only_where_it_was_configured(client: RegistryClient) -> None:
    endpoint = Endpoint.parse("https://registry.example")
    with pytest.raises(DestinationForbidden, match="plain HTTP"):
        await client.ping(replace(endpoint, root=endpoint.root.with_scheme("ftp")))
