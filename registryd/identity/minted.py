"""Material from a file of cluster secrets: each agent mints its own certificate, and mints it again in time."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.identity.errors import CertificateInvalid
from registryd.identity.lifetime import BACKDATED, RENEW_AFTER
from registryd.identity.material import TlsMaterial
from registryd.identity.secret import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from registryd.identity.secret import Secret

# It took 0.1 s where it was measured. A machine on which it takes this long has other worries than its certificate.
_MINTING_SECONDS: Final = 30.0


class Mint(Protocol):
    """Makes a certificate with a fresh key."""

    def __call__(self, secret_file: Path, *, node: str, now: datetime) -> TlsMaterial:
        """From the first secret of the file, acceptable to every node that has any of them. Raises IdentityError."""


@dataclass(frozen=True, slots=True)
class _Minted:
    material: TlsMaterial
    secrets: tuple[Secret, ...]
    at: datetime

    def serves(self, secrets: tuple[Secret, ...], now: datetime) -> bool:
        # A clock that was set back before the minting may have been far ahead then; both ends are checked.
        return secrets == self.secrets and self.at - BACKDATED < now < self.at + RENEW_AFTER


class MintedMaterial:
    """Reads the secrets anew at each `load`; mints when they changed or the certificate's time has come."""

    def __init__(
        self, secret_file: Path, *, node: str, clock: Callable[[], datetime], mint: Mint | None = None
    ) -> None:
        """`mint` is by default a process of its own (see `registryd.identity.minting`)."""
        self._secret_file = secret_file
        self._node = node
        self._clock = clock
        self._mint = mint or mint_apart
        self._minted: _Minted | None = None

    @property
    def paths(self) -> Sequence[Path]:
        return (self._secret_file,)

    @property
    def private_path(self) -> Path:
        return self._secret_file

    def load(self) -> TlsMaterial:
        """The material of the file's secrets; raises IdentityError."""
        secrets, now = read_secrets(self._secret_file), self._clock()
        if self._minted is None or not self._minted.serves(secrets, now):
            self._minted = _Minted(self._mint(self._secret_file, node=self._node, now=now), secrets, now)
        return self._minted.material


def mint_apart(secret_file: Path, *, node: str, now: datetime) -> TlsMaterial:
    """In a process that ends when it is done; the secrets do not pass between the two, it reads the file itself."""
    command = [sys.executable, "-m", "registryd.identity.minting", str(secret_file), node, now.isoformat()]
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_MINTING_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CertificateInvalid(f"{secret_file}: no certificate could be minted from it: {error}") from error
    return TlsMaterial.of_texts(json.loads(done.stdout))
