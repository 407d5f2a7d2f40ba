"""Answers to challenges: which Authorization header a server wants, as far as our credentials go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.upstream.challenge import Basic, Bearer, Challenge
from registryd.upstream.credentials import Credentials, IdentityToken
from registryd.upstream.endpoint import Site
from registryd.upstream.errors import UpstreamBroken, UpstreamDenied
from registryd.upstream.tokens import Token, TokenRequest, Tokens
from registryd.upstream.transport import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from registryd.upstream.credentials import Login
    from registryd.upstream.endpoint import Endpoint
    from registryd.upstream.reply import Reply
    from registryd.upstream.transport import Patience, Transport

# As many as Go's client follows.
_MOST_REDIRECTS: Final = 9
_KEEPS_METHOD: Final = frozenset({307, 308})
# A token is a few KiB; with keys, types and claims of all cloud registries 64 KiB are ample.
_MAX_TOKEN_ANSWER: Final = 64 * 1024
# What was asked for last time, per server and scope in use: some 300 bytes each.
_MOST_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Access:
    """An access to authorise: in the name of an endpoint, at a server, for a scope.

    Credentials are for the endpoint's own server. At the target of a redirect, challenges are answered as an anonymous
    client would answer them: some registries redirect to public ones that give a token to anyone.
    """

    endpoint: Endpoint
    site: Site
    scope: str

    @property
    def credentials(self) -> Login | None:
        """Ours for this server, if any."""
        return self.endpoint.credentials if self.site == self.endpoint.site else None


class Authorizer:
    """Remembers what servers ask for, so that one challenge serves many requests."""

    def __init__(self, transport: Transport, *, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._tokens = Tokens(clock=clock)
        self._asked_for: Recent[Access, Challenge] = Recent(_MOST_REMEMBERED)

    def known(self, access: Access) -> str | None:
        """The Authorization header that worked before, if it still can."""
        match self._asked_for.get(access):
            case Basic():
                return _basic(access)
            case Bearer() as challenge:
                token = self._tokens.peek(_token_request(access, challenge))
                return f"Bearer {token}" if token else None
        return None

    async def answer(
        self, access: Access, challenges: tuple[Challenge, ...], *, patience: Patience, refused: str | None
    ) -> str:
        """The Authorization header for these challenges, which came although `refused` was sent.

        Raises UpstreamDenied when there is nothing to say that was not refused, UpstreamFailed when the token server
        does not give a token.
        """
        for challenge in sorted(challenges, key=lambda found: isinstance(found, Basic)):
            header = await self._answer(access, challenge, patience, refused)
            if header not in {None, refused}:
                self._asked_for.put(access, challenge)
                return header
        raise UpstreamDenied(f"{access.site}: asks for credentials that we do not have, or refuses them")

    async def _answer(
        self, access: Access, challenge: Challenge, patience: Patience, refused: str | None
    ) -> str | None:
        if isinstance(challenge, Basic):
            return _basic(access)
        server = _Realm(self._transport, access.endpoint, patience)
        token = await self._tokens.get(
            _token_request(access, challenge), server, refused=refused.removeprefix("Bearer ") if refused else None
        )
        return f"Bearer {token}"


class _Realm:
    """The token server, as an upstream's challenge names it."""

    def __init__(self, transport: Transport, endpoint: Endpoint, patience: Patience) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._patience = patience

    async def fetch(self, request: TokenRequest) -> Token:
        question = self._question(request)
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._transport.send(question) as reply:
                if reply.leads_to is None:
                    return await self._token(reply)
                await reply.discard()
            question = _redirected(question, reply)
        raise UpstreamBroken(f"{request.challenge.realm.origin()}: more than {_MOST_REDIRECTS} redirects")

    async def _token(self, reply: Reply) -> Token:
        if reply.status == 404:  # noqa: PLR2004 - HTTP's own name of its status
            # Not that what was asked for is missing.
            raise UpstreamBroken(f"{reply.url.origin()}: there is no token server")
        await reply.expect(200)
        return Token.read(await reply.read(_MAX_TOKEN_ANSWER))

    def _question(self, request: TokenRequest) -> Request:
        headers = {"Accept": "application/json"}
        if isinstance(request.credentials, IdentityToken):
            form = _refresh_form(request.challenge, request.credentials)
            return Request("POST", request.challenge.realm, self._endpoint, self._patience, headers, form)
        if request.credentials is not None:
            headers["Authorization"] = request.credentials.authorization()
        return Request("GET", _token_url(request.challenge), self._endpoint, self._patience, headers)


def _redirected(question: Request, reply: Reply) -> Request:
    """The same question where a token server's redirect leads: with what proves who we are on its own server only.

    Raises UpstreamBroken.
    """
    target = reply.leads_to
    if target is None:
        raise ValueError("the reply leads nowhere")
    # As Go's client does it: after 301, 302 and 303 a POST becomes a GET, which does not say who we are either.
    keeps_form = question.form is None or reply.status in _KEEPS_METHOD
    if keeps_form and _is_same_server(question.url, target):
        return replace(question, url=target)
    if question.form is not None:
        raise UpstreamBroken(f"{question.url.origin()}: leads elsewhere with a login, which is for itself only")
    headers = {name: value for name, value in question.headers.items() if name != "Authorization"}
    return replace(question, url=target, headers=headers)


def _is_same_server(asked: URL, target: URL) -> bool:
    """Whether what was shown to the one may be shown to the other; the same host by TLS is."""
    if target.scheme == asked.scheme:
        return Site.of(target) == Site.of(asked)
    is_upgrade = (asked.scheme, target.scheme) == ("http", "https")
    return is_upgrade and target.host == asked.host and asked.is_default_port() and target.is_default_port()


def _basic(access: Access) -> str | None:
    return access.credentials.authorization() if isinstance(access.credentials, Credentials) else None


def _refresh_form(challenge: Bearer, identity: IdentityToken) -> dict[str, str]:
    """The form of distribution's "OAuth 2 Token Authentication", as Docker and containerd send it."""
    return {
        "grant_type": "refresh_token",
        "service": challenge.service,
        "client_id": "registryd",
        "scope": " ".join(challenge.scopes),
        "refresh_token": identity.token,
    }


def _token_request(access: Access, challenge: Bearer) -> TokenRequest:
    scoped = challenge if challenge.scopes else Bearer(challenge.realm, challenge.service, (access.scope,))
    return TokenRequest(scoped, access.credentials)


def _token_url(challenge: Bearer) -> URL:
    query = [("service", challenge.service)] if challenge.service else []
    return challenge.realm.extend_query([*query, *(("scope", scope) for scope in challenge.scopes)])
