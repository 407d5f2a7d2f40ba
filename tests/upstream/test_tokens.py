"""Tokens: kept while they are good, asked for once, never shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from registryd.upstream.challenge import Bearer
from registryd.upstream.credentials import Credentials
from registryd.upstream.errors import UpstreamBroken, UpstreamDenied, UpstreamFailed, UpstreamLimited
from registryd.upstream.tokens import Token, TokenRequest, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.looptime

ALPINE = TokenRequest(Bearer(URL("https://auth/token"), "registry", ("repository:library/alpine:pull",)))


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakeTokenServer:
    """Gives numbered tokens that live a minute, each after a second; or fails."""

    failure: Callable[[], UpstreamFailed] | None = None
    asked: list[TokenRequest] = field(default_factory=list)

    async def fetch(self, request: TokenRequest) -> Token:
        self.asked.append(request)
        await asyncio.sleep(1)
        if self.failure is not None:
            raise self.failure()
        return Token(f"token-{len(self.asked)}", life=60)


async def test_a_token_is_kept_for_four_fifths_of_its_life() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    assert await tokens.get(ALPINE, server) == "token-1"
    await asyncio.sleep(46.9)
    assert tokens.peek(ALPINE) == "token-1"
    assert await tokens.get(ALPINE, server) == "token-1"
    await asyncio.sleep(0.2)
    assert tokens.peek(ALPINE) is None, "48 s after it was asked for"
    assert await tokens.get(ALPINE, server) == "token-2"


async def test_realm_service_scope_and_credentials_have_tokens_of_their_own() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    others = [
        TokenRequest(Bearer(URL("https://other/token"), "registry", ALPINE.challenge.scopes)),
        TokenRequest(Bearer(ALPINE.challenge.realm, "other", ALPINE.challenge.scopes)),
        TokenRequest(Bearer(ALPINE.challenge.realm, "registry", ("repository:other:pull",))),
        TokenRequest(ALPINE.challenge, Credentials("robot", "secret")),
    ]
    assert len({await tokens.get(request, server) for request in [ALPINE, *others]}) == 5


async def test_concurrent_requests_are_one() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    assert set(await asyncio.gather(*(tokens.get(ALPINE, server) for _ in range(20)))) == {"token-1"}
    assert clock() == 1
    assert len(server.asked) == 1


async def test_a_failure_is_everybodys_who_waited_and_is_not_kept() -> None:
    def limited() -> UpstreamFailed:
        return UpstreamLimited("too much", retry_after=5)

    server, tokens = FakeTokenServer(failure=limited), Tokens(clock=clock)
    results = await asyncio.gather(*(tokens.get(ALPINE, server) for _ in range(3)), return_exceptions=True)
    assert len(server.asked) == 1
    assert [(type(result), getattr(result, "retry_after", None)) for result in results] == [(UpstreamLimited, 5)] * 3
    assert len({id(result) for result in results}) == 3, "an exception is raised in one task only"
    server.failure = None
    assert await tokens.get(ALPINE, server) == "token-2"


async def test_who_waits_takes_over_from_one_that_is_cancelled() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    first = asyncio.create_task(tokens.get(ALPINE, server))
    second = asyncio.create_task(tokens.get(ALPINE, server))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == "token-2"
    assert clock() == 1.5


async def test_a_refused_token_is_replaced_once() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    first = await tokens.get(ALPINE, server)
    renewed = await asyncio.gather(*(tokens.get(ALPINE, server, refused=first) for _ in range(3)))
    assert set(renewed) == {"token-2"}


async def test_a_failed_renewal_leaves_no_old_token() -> None:
    server, tokens = FakeTokenServer(), Tokens(clock=clock)
    first = await tokens.get(ALPINE, server)
    server.failure = lambda: UpstreamDenied("no")
    with pytest.raises(UpstreamDenied):
        await tokens.get(ALPINE, server, refused=first)
    assert tokens.peek(ALPINE) is None


@pytest.mark.parametrize(
    ("document", "life"),
    [
        ({"token": "x"}, 60),
        ({"access_token": "x", "expires_in": 300}, 300),
        ({"token": "x", "expires_in": 43200}, 3600),
        ({"token": "x", "expires_in": 5.5}, 5.5),
        ({"token": "x", "expires_in": 0}, 60),
        ({"token": "x", "expires_in": -1}, 60),
        ({"token": "x", "expires_in": True}, 60),
        ({"token": "x", "expires_in": "300"}, 60),
        ({"token": "x", "expires_in": 10**400}, 3600),
        ({"token": "x", "expires_in": float("nan")}, 60),
    ],
)
def test_how_long_a_token_lives(document: object, life: float) -> None:
    assert Token.read(json.dumps(document).encode()) == Token("x", life)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"token":1}', b'{"token":"a b"}', b'{"token":"a\\r\\nX: y"}', b"\xff", b"[" * 100_000]
)
def test_answers_without_a_usable_token(data: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        Token.read(data)


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Token("secret"))
