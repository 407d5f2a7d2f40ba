"""How the client answers challenges, and what it shows to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
