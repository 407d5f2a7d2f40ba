"""Bearer tokens: fetched from the realm of a challenge, kept until shortly before they end."""

from __future__ import annotations

import asyncio
import re
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from registryd.aio.recent import Recent
from registryd.json_text import parse_json
from registryd.upstream.errors import UpstreamBroken, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.upstream.challenge import Bearer
    from registryd.upstream.credentials import Login

# A token without expires_in lives so long, and none should live shorter (distribution, "Token Authentication").
_DEFAULT_LIFE: Final = 60.0
# A token server's word is believed for an hour; Docker Hub's tokens live five minutes, others' up to twelve hours.
_LONGEST_LIFE: Final = 3600.0
# A fifth of its life before its end a token is renewed: slow requests and unequal clocks.
_USED_SHARE: Final = 0.8
# One token per repository in use; a token is a few KiB.
_MOST_TOKENS: Final = 1024
# The characters of an Authorization header. Tokens of cloud registries have up to some 5000 characters.
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token. Equal requests get the same token."""

    challenge: Bearer
    credentials: Login | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and how many seconds it lives, counted from when it was asked for."""

    value: str = field(repr=False)
    life: float = _DEFAULT_LIFE

    @classmethod
    def read(cls, data: bytes) -> Token:
        """The answer of a token server, `token` or `access_token`; raises UpstreamBroken."""
        document = _load(data)
        value = document.get("token") or document.get("access_token")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise UpstreamBroken("the token server's answer has no usable token")
        return cls(value, _life(document.get("expires_in")))


class TokenServer(Protocol):
    """Asks realms for tokens."""

    async def fetch(self, request: TokenRequest) -> Token:
        """Get a fresh token. Raises UpstreamFailed."""


class Tokens:
    """The tokens in use. Callers that want the same token at the same time wait for one request to the token server."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: Recent[TokenRequest, _Slot] = Recent(_MOST_TOKENS)

    async def get(self, request: TokenRequest, server: TokenServer, *, refused: str | None = None) -> str:
        """A token that is not `refused`. Raises UpstreamFailed, to all callers that waited for the same answer."""
        slot = self._slots.get_or_put(request, _Slot)
        attempt = slot.attempts
        async with slot.lock:
            if slot.attempts == attempt and (slot.token == refused or self._clock() >= slot.usable_until):
                await self._renew(slot, request, server)
            elif slot.failure is not None:
                raise copy(slot.failure)
            return slot.token

    def peek(self, request: TokenRequest) -> str | None:
        """The token if there is one that can still be used."""
        slot = self._slots.get(request)
        return slot.token if slot is not None and self._clock() < slot.usable_until else None

    async def _renew(self, slot: _Slot, request: TokenRequest, server: TokenServer) -> None:
        asked_at = self._clock()
        slot.usable_until = float("-inf")
        try:
            token = await server.fetch(request)
        except UpstreamFailed as failure:
            # A copy has no traceback, which would keep everything alive that it passed through.
            slot.failure = copy(failure)
            slot.attempts += 1
            raise
        # A cancelled attempt does not count: the next waiting caller asks itself.
        slot.attempts += 1
        slot.failure = None
        slot.token = token.value
        slot.usable_until = asked_at + token.life * _USED_SHARE


class _Slot:
    """A token, or why there is none, and the lock of the caller that asks for it."""

    __slots__ = ("attempts", "failure", "lock", "token", "usable_until")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.attempts = 0
        self.token = ""
        self.usable_until = float("-inf")
        self.failure: UpstreamFailed | None = None


def _life(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not raw > 0:
        return _DEFAULT_LIFE
    return float(min(raw, _LONGEST_LIFE))


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise UpstreamBroken("the token server's answer is not JSON") from error
    if not isinstance(document, dict):
        raise UpstreamBroken("the token server's answer is not a JSON object")
    return document
