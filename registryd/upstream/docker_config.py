"""Credentials as Docker keeps them: `config.json`, and the helper programs that it names.

https://docs.docker.com/reference/cli/docker/login/ and docker-credential-helpers' protocol: the program
`docker-credential-NAME get` reads the server from its input and writes a JSON object.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Final

from registryd.aio.recent import Recent
from registryd.json_text import parse_json
from registryd.notation import DOCKER_HUB
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry, Repository
from registryd.plain_file import read_plain
from registryd.upstream.credentials import Credentials, IdentityToken, Login
from registryd.upstream.errors import UpstreamDenied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A login takes some 200 bytes; with tokens of cloud providers, a few kilobytes.
_MOST_BYTES: Final = 1024 * 1024
_API_PATHS: Final = frozenset({"v1", "v2"})
# A repository that does not exist: helpers are for whole registries.
_ANY: Final = "any"
_MOST_TOLD: Final = 256
# Docker's name for its own registry.
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
        self._loaded_at = float("-inf")
        self._config: dict[str, Any] = {}
        self._told: Recent[tuple[str, Registry], tuple[float, Login | None]] = Recent(_MOST_TOLD)

    async def login(self, repository: Repository) -> Login | None:
        """Ours for this repository; None when there is none. Raises UpstreamDenied, naming what does not work."""
        if self._clock() - self._loaded_at >= _BELIEVED_SECONDS:
            self._config = self._load()
            self._loaded_at = self._clock()
        config, registry = self._config, repository.registry
        if helper := _entry(config.get("credHelpers"), Repository(registry, _ANY)):
            return await self._told_by(str(helper), registry)
        if auth := _entry(config.get("auths"), repository):
            return _login_of(auth, registry)
        return await self._told_by(str(config["credsStore"]), registry) if config.get("credsStore") else None

    async def _told_by(self, helper: str, registry: Registry) -> Login | None:
        asked_at, login = self._told.get((helper, registry)) or (float("-inf"), None)
        if self._clock() - asked_at >= _BELIEVED_SECONDS:
            login = await _ask_helper(helper, registry)
            self._told.put((helper, registry), (self._clock(), login))
        return login

    def _load(self) -> dict[str, Any]:
        try:
            document = parse_json(read_plain(self._path, most_bytes=_MOST_BYTES))
        except (OSError, ValueError) as error:
            # Not the text of a JSON error, which may quote what stands there.
            raise UpstreamDenied(f"{self._path} cannot be read ({type(error).__name__})") from None
        if not isinstance(document, dict):
            raise UpstreamDenied(f"{self._path} is not a Docker configuration")
        return document


def _entry(table: object, repository: Repository) -> Any:
    """The entry of a repository: of its registry, or, if there is one, of the longest path that it is below."""
    found, deepest = None, -1
    for key, value in table.items() if isinstance(table, dict) else ():
        host, path = _place_of(str(key))
        is_ours = not path or f"{repository.path}/".startswith(f"{path}/")
        if is_ours and len(path) > deepest and _is_called(repository.registry, host):
            found, deepest = value, len(path)
    return found


def _is_called(registry: Registry, host: str) -> bool:
    try:
        return Registry(host) == registry
    except NameInvalid:
        return False


def _place_of(key: str) -> tuple[str, str]:
    """Host and path of a key: an address as older clients of Docker wrote it, whose path is the API's, or a name."""
    _, is_address, rest = key.partition("://")
    host, _, path = (rest if is_address else key).partition("/")
    path = path.strip("/")
    return host, "" if is_address or path in _API_PATHS else path


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
    server = _HUB if registry.host == DOCKER_HUB else registry.written
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
        answer = parse_json(said)
        username, secret = str(answer["Username"]), str(answer["Secret"])
        return IdentityToken(secret) if username == _TOKEN_USER else Credentials(username, secret)
    except (ValueError, KeyError, TypeError):
        raise UpstreamDenied(f"docker-credential-{name} does not give a login") from None
