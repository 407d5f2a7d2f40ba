"""Material from a file of cluster secrets: each agent mints its own certificate, and mints it again in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registryd.identity.authority import Authority
from registryd.identity.certificate import MEMBER_NAME, Validity
from registryd.identity.material import TlsMaterial
from registryd.identity.secret import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography.x509 import Certificate

    from registryd.identity.secret import Secret

# A copied key is worthless after a day.
_LIFETIME: Final = timedelta(hours=24)
# Two thirds: a node that cannot renew has a third of a lifetime to be put right, and clocks that are ahead by as
# much do no harm.
_RENEW_AFTER: Final = timedelta(hours=16)
# As much tolerance for clocks that are behind. It makes nothing last longer.
_BACKDATED: Final = timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class _Minted:
    material: TlsMaterial
    secrets: tuple[Secret, ...]
    at: datetime

    def serves(self, secrets: tuple[Secret, ...], now: datetime) -> bool:
        # A clock that was set back before the minting may have been far ahead then; both ends are checked.
        return secrets == self.secrets and self.at - _BACKDATED < now < self.at + _RENEW_AFTER


class MintedMaterial:
    """Reads the secrets anew at each `load`; mints when they changed or the certificate's time has come."""

    def __init__(self, secret_file: Path, *, node: str, clock: Callable[[], datetime]) -> None:
        self._secret_file = secret_file
        self._node = node
        self._clock = clock
        self._minted: _Minted | None = None

    @property
    def paths(self) -> Sequence[Path]:
        return (self._secret_file,)

    @property
    def private_path(self) -> Path:
        return self._secret_file

    def load(self) -> TlsMaterial:
        """The material of the file's secrets; raises SecretInvalid."""
        secrets, now = read_secrets(self._secret_file), self._clock()
        if self._minted is None or not self._minted.serves(secrets, now):
            self._minted = _Minted(mint(secrets, node=self._node, now=now), secrets, now)
        return self._minted.material


def mint(secrets: Sequence[Secret], *, node: str, now: datetime) -> TlsMaterial:
    """A certificate with a fresh key from the first secret, acceptable to every node that has any of the secrets."""
    authorities = [Authority(secret) for secret in secrets]
    validity = Validity(now - _BACKDATED, now + _LIFETIME)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authorities[0].issue(key.public_key(), node=node, validity=validity)
    return TlsMaterial(
        chain=_pem([leaf, *_endorsements(authorities, validity)]),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        roots=_pem([authority.certificate for authority in authorities]),
        name=MEMBER_NAME,
    )


def _endorsements(authorities: Sequence[Authority], validity: Validity) -> list[Certificate]:
    """One line of endorsements from the last authority up to the first.

    A node that has not been told of the first secret yet follows it to the one that it knows, so a new secret can be
    put on top of one node's file after the other's. A line and not a star, because verifiers that find two issuers
    of the same name try one of them only (OpenSSL and BoringSSL do not go back).

    An endorsement outlives the file by a certificate's life: who knows a removed secret that stood above the one that
    stayed, and recorded what was shown then, can be a member for a day longer. So new secrets belong on top, and one
    that leaked is replaced at once instead of being kept below.
    """
    return [known.endorse(newer, validity) for newer, known in pairwise(authorities)]


def _pem(certificates: Sequence[Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
