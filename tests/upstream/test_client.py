"""The client against a fake upstream: how it authorises itself, where it goes, and what it makes of bad answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.client import RegistryClient, open_client
from registryd.upstream.credentials import Credentials
from registryd.upstream.endpoint import Endpoint, Site
from registryd.upstream.errors import (
    DestinationForbidden,
    RateLimit,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from registryd.upstream.proxies import Proxies
from registryd.upstream.transport import Patience
from tests.fakes import upstream as fakes
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

IMAGE = oci_image()
APP = Repository(Registry("registry.example"), "demo/app")
PRIVATE = Repository(Registry("registry.example"), "demo/private")
TAG = Tag("v1")
LAYER = IMAGE.digest_of("application/vnd.oci.image.layer.v1.tar+gzip")
# Silence is noticed after this many seconds; everything else here takes milliseconds.
IMPATIENT = Patience(connect=2.0, silence=0.1, total=2.0)


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(clock=time.monotonic, patience=IMPATIENT, proxies=Proxies()) as client:
        yield client


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with registry("bearer") as upstream:
        yield upstream


@asynccontextmanager
async def registry(challenge: str, prefix: str = "/v2") -> AsyncIterator[FakeUpstream]:
    async with open_upstream(FakeUpstream(challenge=challenge, prefix=prefix)) as upstream:
        upstream.add("demo/app", IMAGE)
        upstream.add("demo/private", IMAGE, public=False)
        yield upstream


def at(upstream: FakeUpstream, *, login: str | None = None) -> Endpoint:
    endpoint = Endpoint.parse(upstream.url)
    user, _, password = (login or "").partition(":")
    return replace(endpoint, credentials=Credentials(user, password)) if login else endpoint


# What is asked


async def test_head_tells_what_the_manifest_is(client: RegistryClient, upstream: FakeUpstream) -> None:
    head = await client.head_manifest(at(upstream), APP, TAG)
    assert (head.media_type, head.digest, head.size) == (
        IMAGE.target.media_type,
        IMAGE.target.digest,
        IMAGE.target.size,
    )
    assert upstream.seen[-1].method == "HEAD"
    assert upstream.seen[-1].query == "ns=registry.example"


@pytest.mark.parametrize("challenge", ["none", "basic", "bearer"])
async def test_a_manifest_by_tag_and_by_digest(client: RegistryClient, challenge: str) -> None:
    async with registry(challenge) as upstream:
        by_tag = await client.get_manifest(at(upstream), APP, TAG)
        assert by_tag == await client.get_manifest(at(upstream), APP, IMAGE.target.digest)
        assert (by_tag.data, by_tag.digest) == (IMAGE.manifest, IMAGE.target.digest)


async def test_a_blob_from_an_offset(client: RegistryClient, upstream: FakeUpstream) -> None:
    for start in (0, 3):
        async with client.open_blob(at(upstream), APP, LAYER, start=start) as blob:
            assert (blob.size, blob.start) == (len(IMAGE.blobs[LAYER]), start)
            assert b"".join([chunk async for chunk in blob.chunks]) == IMAGE.blobs[LAYER][start:]


async def test_a_path_prefix_as_harbor_has_it(client: RegistryClient) -> None:
    async with registry("bearer", prefix="/v2/proxy-docker.io") as upstream:
        endpoint = Endpoint.parse(f"{upstream.url}/v2/proxy-docker.io", override_path=True)
        await client.head_manifest(endpoint, APP, TAG)
        assert upstream.seen[0].path == "/v2/proxy-docker.io/demo/app/manifests/v1"
        assert "scope=repository:proxy-docker.io/demo/app:pull" in upstream.seen[1].query


async def test_ping_takes_any_answer(client: RegistryClient, upstream: FakeUpstream) -> None:
    for status in (200, 401, 403, 404, 429):
        upstream.character = fakes.answering(status)
        await client.ping(at(upstream))
    upstream.character = fakes.answering(503)
    with pytest.raises(UpstreamUnreachable, match="503"):
        await client.ping(at(upstream))


# Authorisation


async def test_one_challenge_and_one_token_serve_many_requests(client: RegistryClient, upstream: FakeUpstream) -> None:
    for _ in range(3):
        await client.get_manifest(at(upstream), APP, TAG)
    assert upstream.count("/v2/") == 4
    assert upstream.count("/token") == 1


async def test_a_revoked_token_is_replaced(client: RegistryClient, upstream: FakeUpstream) -> None:
    await client.head_manifest(at(upstream), APP, TAG)
    upstream.revoke_tokens()
    await client.head_manifest(at(upstream), APP, TAG)
    assert upstream.count("/token") == 2


@pytest.mark.parametrize("challenge", ["basic", "bearer"])
@pytest.mark.parametrize("login", [None, "pull:wrong"])
async def test_without_the_right_credentials_it_is_denied(
    client: RegistryClient, challenge: str, login: str | None
) -> None:
    async with registry(challenge) as upstream:
        with pytest.raises(UpstreamDenied):
            await client.head_manifest(at(upstream, login=login), PRIVATE, TAG)


@pytest.mark.parametrize("challenge", ["basic", "bearer"])
async def test_with_the_right_credentials_it_is_given(client: RegistryClient, challenge: str) -> None:
    async with registry(challenge) as upstream:
        await client.head_manifest(at(upstream, login=fakes.USER), PRIVATE, TAG)
        with pytest.raises(UpstreamDenied):
            await client.head_manifest(at(upstream), PRIVATE, TAG)


async def test_a_challenge_that_nobody_understands(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(401, WWW_Authenticate='Bearer realm="nowhere", ="')
    with pytest.raises(UpstreamDenied):
        await client.head_manifest(at(upstream), APP, TAG)


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        (fakes.answering(401), UpstreamDenied),
        (fakes.answering(404), UpstreamBroken),
        (fakes.answering(429, Retry_After="7"), UpstreamLimited),
        (fakes.answering(500), UpstreamUnreachable),
        (fakes.answering(302, Location="/token2"), UpstreamBroken),
        (fakes.answering(200, b"{}"), UpstreamBroken),
        (fakes.answering(200, b" " * 100_000), UpstreamBroken),
        (fakes.silent, UpstreamUnreachable),
        (fakes.stalling, UpstreamUnreachable),
        (fakes.short, UpstreamUnreachable),
    ],
)
async def test_a_token_server_in_trouble(
    client: RegistryClient, upstream: FakeUpstream, character: fakes.Character, kind: type[UpstreamFailed]
) -> None:
    upstream.token_character = character
    with pytest.raises(UpstreamFailed) as caught:
        await client.head_manifest(at(upstream), APP, TAG)
    assert type(caught.value) is kind


# Redirects


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


async def test_redirects_are_counted(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(302, Location="/v2/again")
    with pytest.raises(UpstreamBroken, match="more than 5 redirects"):
        await client.head_manifest(at(upstream), APP, TAG)
    assert len(upstream.seen) == 6


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


# Answers that are none


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        (fakes.answering(403), UpstreamDenied),
        (fakes.answering(404), UpstreamMissing),
        (fakes.answering(400), UpstreamBroken),
        (fakes.answering(304), UpstreamBroken),
        (fakes.answering(500), UpstreamUnreachable),
        (fakes.answering(200, b"other bytes"), UpstreamBroken),
        (fakes.answering(200, b"x" * (4 * 1024 * 1024 + 1)), UpstreamBroken),
        (fakes.answering(200, b"", X_Huge="x" * 20_000), UpstreamBroken),
        (fakes.silent, UpstreamUnreachable),
        (fakes.stalling, UpstreamUnreachable),
        (fakes.short, UpstreamUnreachable),
        (fakes.resetting, UpstreamUnreachable),
    ],
)
async def test_an_upstream_in_trouble(
    client: RegistryClient, upstream: FakeUpstream, character: fakes.Character, kind: type[UpstreamFailed]
) -> None:
    upstream.character = character
    with pytest.raises(UpstreamFailed) as caught:
        await client.get_manifest(at(upstream), APP, IMAGE.target.digest)
    assert type(caught.value) is kind


async def test_nobody_there(client: RegistryClient, unused_tcp_port: int) -> None:
    with pytest.raises(UpstreamUnreachable, match=f"http://127.0.0.1:{unused_tcp_port}"):
        await client.ping(Endpoint.parse(f"http://127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(UpstreamUnreachable):
        await client.ping(Endpoint.parse("http://nobody.invalid"))


async def test_a_limit_and_what_is_said_of_it(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(
        429, Retry_After="30", RateLimit_Limit="100;w=21600", RateLimit_Remaining="0;w=21600"
    )
    with pytest.raises(UpstreamLimited) as caught:
        await client.head_manifest(at(upstream), APP, TAG)
    assert caught.value.retry_after == 30
    assert caught.value.rate_limit == RateLimit(100, 0, 21600)


@pytest.mark.parametrize("retry_after", ["soon", "-1", "1e9", "99999999999", ""])
async def test_a_limit_that_says_nonsense(client: RegistryClient, upstream: FakeUpstream, retry_after: str) -> None:
    upstream.character = fakes.answering(429, Retry_After=retry_after, RateLimit_Limit="many")
    with pytest.raises(UpstreamLimited) as caught:
        await client.head_manifest(at(upstream), APP, TAG)
    assert (caught.value.retry_after, caught.value.rate_limit) == (None, RateLimit())


async def test_a_date_to_come_back_at(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")
    with pytest.raises(UpstreamLimited) as caught:
        await client.head_manifest(at(upstream), APP, TAG)
    assert caught.value.retry_after == 0, "a date that has passed"


async def test_no_secret_in_what_is_raised(client: RegistryClient, upstream: FakeUpstream) -> None:
    upstream.character = fakes.answering(302, Location="/v2/x?X-Signature=signed-secret")
    with pytest.raises(UpstreamFailed) as caught:
        await client.head_manifest(at(upstream, login="robot:password-secret"), APP, TAG)
    shown = "".join(
        repr(link) for link in (caught.value, caught.value.__cause__, caught.value.__context__, caught.value.args)
    )
    assert "secret" not in shown


async def test_a_cancelled_request_leaves_nothing(client: RegistryClient, upstream: FakeUpstream) -> None:
    reached = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await fakes.silent(request)

    upstream.character = silent
    task = asyncio.create_task(client.get_manifest(at(upstream), APP, Digest.of(b"x")))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
