"""The node's token: this node's containerd shows it at the local registry, and no other process knows it.

The token stands in the `header` table of hosts.toml, which only root reads. containerd sends it with every request:
`Registryd-Token: registryd_token_…`. This is registryd's own header and not Authorization, because Authorization
belongs to the pull's credentials, which must never come here.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

from registryd.identity.errors import SecretInvalid
from registryd.identity.exposure import warn_if_exposed
from registryd.identity.lines import read_lines
from registryd.identity.watch import follow

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_HEADER: Final = "Registryd-Token"  # noqa: S105 - its name, not a token
_PREFIX: Final = "registryd_token_"
# 256 bits, as the cluster secret.
_RANDOM_BYTES: Final = 32
_MISSING: Final = "`registryd install` makes it"
_REMEDY: Final = "remove the file and run `registryd install` again"


class NodeToken:
    """The tokens of a file: the first is what hosts.toml carries, all are accepted. Raises SecretInvalid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._accepted = _hashes(path)
        warn_if_exposed(path)

    def admits(self, header: str | None) -> bool:
        """Whether the value of a request's `TOKEN_HEADER` is one of the tokens; takes as long whether or not."""
        given = sha256((header or "").encode(errors="surrogatepass")).digest()
        matches = [hmac.compare_digest(given, accepted) for accepted in self._accepted]
        return any(matches)

    async def keep_current(self) -> None:
        """Follow the file until cancelled. An error is reported once, and changes nothing."""
        await follow([self._path], self.refresh)

    def refresh(self) -> None:
        """Look at the file now. Raises SecretInvalid; the tokens known before are then still accepted."""
        self._accepted = _hashes(self._path)


def read_token(path: Path) -> str:
    """The token to be written into hosts.toml; raises SecretInvalid."""
    return read_lines(path, remedy=_REMEDY, missing=_MISSING)[0]


def ensure_token(path: Path) -> str:
    """The file's token; if there is none it is made, all at once and for its owner only. Raises SecretInvalid."""
    try:
        if not path.exists():
            _create(path, f"{_PREFIX}{secrets.token_urlsafe(_RANDOM_BYTES)}\n")
    except OSError as error:
        raise SecretInvalid(f"{path}: {error.strerror}") from error
    return read_token(path)


def _create(path: Path, text: str) -> None:
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:  # has mode 0600
        file.write(text)
        file.flush()
        # Unlike renaming, linking leaves a file alone that another process has made in the meantime.
        with suppress(FileExistsError):
            os.link(file.name, path)


def _hashes(path: Path) -> tuple[bytes, ...]:
    return tuple(sha256(token.encode()).digest() for token in read_lines(path, remedy=_REMEDY, missing=_MISSING))
