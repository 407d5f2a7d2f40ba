"""How the client answers challenges, and what it shows to whom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.upstream.credentials import IdentityToken
from registryd.upstream.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamUnreachable,
)
from tests.fakes import upstream as fakes
from tests.upstream.world import APP, PRIVATE, TAG, at, registry

if TYPE_CHECKING:
    from registryd.upstream.client import RegistryClient
    from tests.fakes.upstream import FakeUpstream


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
        (fakes.answering(302, Location="/token"), UpstreamBroken),
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


# Token servers that send on


def _sends_on(upstream: FakeUpstream, target: str, *, status: int = 302) -> fakes.Character:
    """A token server that gives tokens at another address only."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query.get("moved"):
            return upstream._token(request)
        return web.Response(status=status, headers={"Location": f"{target}/token?moved=yes&{request.query_string}"})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_token_server_that_sends_on_is_followed_with_the_login_on_its_own_server(
    client: RegistryClient, status: int
) -> None:
    async with registry("bearer") as upstream:
        upstream.token_character = _sends_on(upstream, "", status=status)
        await client.head_manifest(at(upstream, login=fakes.USER), PRIVATE, TAG)
        asked = [seen for seen in upstream.seen if seen.path == "/token"]
        assert len(asked) == 2
        assert asked[0].authorization == asked[1].authorization is not None


async def test_another_server_is_not_shown_the_login(client: RegistryClient) -> None:
    async with registry("bearer") as upstream, registry("bearer") as other:
        upstream.token_character = _sends_on(other, other.url)
        other.token_character = upstream.token_character
        endpoint = at(upstream, login=fakes.USER).leading_to([f"127.0.0.1:{other.port}"])
        with pytest.raises(UpstreamDenied):
            await client.head_manifest(endpoint, PRIVATE, TAG)
        assert [seen.authorization for seen in other.seen] == [None]


@pytest.mark.parametrize(("status", "where"), [(302, "here"), (307, "elsewhere"), (308, "elsewhere")])
async def test_a_refresh_token_is_sent_nowhere_else(client: RegistryClient, status: int, where: str) -> None:
    async with registry("bearer") as upstream, registry("bearer") as other:
        target = other.url if where == "elsewhere" else ""
        upstream.token_character = _sends_on(upstream, target, status=status)
        endpoint = replace(at(upstream), credentials=IdentityToken("refresh"))
        with pytest.raises(UpstreamBroken, match="leads elsewhere"):
            await client.head_manifest(endpoint.leading_to([f"127.0.0.1:{other.port}"]), PRIVATE, TAG)
        assert not other.seen


async def test_a_relative_realm_is_asked(client: RegistryClient) -> None:
    async with registry("bearer") as upstream:
        upstream.realm = "/token"
        await client.head_manifest(at(upstream, login=fakes.USER), PRIVATE, TAG)
