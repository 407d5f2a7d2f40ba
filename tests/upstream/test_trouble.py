"""What the client makes of upstreams in trouble, and of those that make trouble."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import (
    NotHttp,
    RateLimit,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from tests.fakes import upstream as fakes
from tests.upstream.world import APP, IMAGE, TAG, at

if TYPE_CHECKING:
    from aiohttp import web

    from registryd.upstream.client import RegistryClient
    from tests.fakes.upstream import FakeUpstream


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
        (fakes.answering(200, b"", X_Huge="x" * 20_000), NotHttp),
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
