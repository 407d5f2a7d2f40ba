"""The cluster secret, which all agents of a cluster share, and no other program has."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from registryd.identity.lines import read_lines

if TYPE_CHECKING:
    from pathlib import Path

# Tells people and secret scanners what they have found.
_PREFIX: Final = "registryd_secret_"
# 256 bits: as strong as the keys that are derived from it can be.
_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of the cluster. Keys are derived from it; its text is never shown."""

    _text: str = field(repr=False)

    def derive(self, label: str, *, length: int) -> bytes:
        """A key of its own for each purpose, by HKDF-SHA256 (RFC 5869).

        The label carries a version: another derivation gets another label, never a changed meaning of this one.
        """
        # Only the process that makes certificates derives keys, which is not the agent itself
        # (registryd.identity.minting).
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        return HKDF(SHA256(), length, salt=None, info=f"registryd/{label}".encode()).derive(self._text.encode())


def read_secrets(path: Path) -> tuple[Secret, ...]:
    """The secrets of a file: the first is used, all are accepted. Raises SecretInvalid."""
    return tuple(map(Secret, read_lines(path, remedy="`registryd secret new` prints one")))


def new_secret() -> str:
    """A new secret, safe in URLs, shells and YAML."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
