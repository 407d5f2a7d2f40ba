"""Credentials as Docker keeps them: `config.json`, and the helper programs that it names.

https://docs.docker.com/reference/cli/docker/login/ and docker-credential-helpers' protocol: the program
`docker-credential-NAME get` reads the server from its input and writes a JSON object.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Final

from registryd.oci.reference import DOCKER_HUB, Registry
from registryd.upstream.credentials import Credentials, IdentityToken, Login
from registryd.upstream.errors import UpstreamDenied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What Docker calls its own registry.
_HUB: Final = "https://index.docker.io/v1/"
# Helpers of cloud providers give tokens that live an hour or more; asking costs a process and perhaps their API.
_BELIEVED_SECONDS: Final = 300.0
# A helper asks a keychain or a cloud's API; what takes longer hangs.
_HELPER_SECONDS: Final = 10.0
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# The user name that stands for "the secret is a refresh token".
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the helpers' protocol has it so


class DockerConfig:
    """The logins of one `config.json`, read anew every few minutes, helpers asked as often. `clock` gives seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._known: dict[Registry, tuple[float, Login | None]] = {}

    async def login(self, registry: Registry) -> Login | None:
        """Ours for this registry; None when there is none. Raises UpstreamDenied, naming what does not work."""
        asked_at, login = self._known.get(registry, (float("-inf"), None))
        if self._clock() - asked_at >= _BELIEVED_SECONDS:
            login = await self._ask(registry)
            self._known[registry] = (self._clock(), login)
        return login

    async def _ask(self, registry: Registry) -> Login | None:
        config = self._load()
        if helper := _entry(config.get("credHelpers"), registry):
            return await _ask_helper(str(helper), registry)
        if auth := _entry(config.get("auths"), registry):
            return _login_of(auth, registry)
        return await _ask_helper(str(config["credsStore"]), registry) if config.get("credsStore") else None

    def _load(self) -> dict[str, Any]:
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError) as error:
            # Not the text of a JSON error, which may quote what stands there.
            raise UpstreamDenied(f"{self._path} cannot be read ({type(error).__name__})") from None
        if not isinstance(document, dict):
            raise UpstreamDenied(f"{self._path} is not a Docker configuration")
        return document


def _entry(table: object, registry: Registry) -> Any:
    """The entry of a registry, whose key may be a host, or an address as older clients wrote it."""
    for key, value in table.items() if isinstance(table, dict) else ():
        host = str(key).partition("://")[2] or str(key)
        if host.partition("/")[0].lower() in _names(registry):
            return value
    return None


def _names(registry: Registry) -> frozenset[str]:
    own = {registry.host}
    return frozenset(own | {"index.docker.io", "registry-1.docker.io"} if registry.host == DOCKER_HUB else own)


def _login_of(auth: Any, registry: Registry) -> Login | None:
    fields = auth if isinstance(auth, dict) else {}
    if token := fields.get("identitytoken"):
        return IdentityToken(str(token))
    try:
        if fields.get("auth"):
            username, _, password = base64.b64decode(str(fields["auth"]), validate=True).decode().partition(":")
            return Credentials(username, password.rstrip("\0"))
        return Credentials(str(fields["username"]), str(fields["password"])) if "username" in fields else None
    except (binascii.Error, ValueError, KeyError):
        raise UpstreamDenied(f"the Docker configuration's login for {registry} cannot be understood") from None


async def _ask_helper(name: str, registry: Registry) -> Login | None:
    if not _HELPER.fullmatch(name):
        raise UpstreamDenied(f"{name[:80]!r} is not the name of a credential helper")
    server = _HUB if registry.host == DOCKER_HUB else registry.host
    try:
        async with asyncio.timeout(_HELPER_SECONDS):
            status, said = await _run(f"docker-credential-{name}", server.encode())
    except (OSError, TimeoutError) as error:
        raise UpstreamDenied(f"docker-credential-{name} does not work ({type(error).__name__})") from error
    if status and b"credentials not found" in said:
        return None
    return _secret_of(name, said)


async def _run(program: str, server: bytes) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(program, "get", stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        said, _ = await process.communicate(server)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode, said


def _secret_of(name: str, said: bytes) -> Login:
    try:
        answer = json.loads(said)
        username, secret = str(answer["Username"]), str(answer["Secret"])
        return IdentityToken(secret) if username == _TOKEN_USER else Credentials(username, secret)
    except (ValueError, KeyError, TypeError):
        raise UpstreamDenied(f"docker-credential-{name} does not give a login") from None
