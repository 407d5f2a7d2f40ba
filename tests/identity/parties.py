"""Secrets, clocks and callers for the tests of identity: members, and intruders of every kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial
from registryd.identity.minting import mint, mint_from
from registryd.identity.secret import Secret, new_secret

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.identity.material import TlsMaterial

OLD, NEW, OTHER = (new_secret() for _ in range(3))


class Clock:
    """Tells the time that a test sets; begins with the real one, which OpenSSL looks at."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        self.now += timedelta(**units)


def write_secrets(path: Path, *secrets: str) -> Path:
    path.write_text("\n".join(secrets), encoding="ascii")
    path.chmod(0o600)
    return path


@dataclass
class Node:
    """A member with a secret file of its own."""

    file: Path
    clock: Clock
    credentials: MemberCredentials

    @classmethod
    def make(cls, directory: Path, name: str, *secrets: str) -> Node:
        file, clock = write_secrets(directory / f"{name}.secret", *secrets), Clock()
        return cls(file, clock, MemberCredentials(MintedMaterial(file, node=name, clock=clock, mint=mint_from)))

    def rotate(self, *secrets: str) -> None:
        write_secrets(self.file, *secrets)
        self.credentials.refresh()


def minted(*secrets: str, hours: float = 0) -> TlsMaterial:
    """What a node with these secrets shows, minted so many hours from now."""
    return mint([Secret(text) for text in secrets], node="a", now=datetime.now(UTC) + timedelta(hours=hours))


def intruders() -> dict[str, TlsMaterial]:
    """Callers that know the authority (so that they talk to us at all) but have no good certificate of it."""
    roots = minted(OLD).roots
    other, late, early = minted(OTHER), minted(OLD, hours=-25), minted(OLD, hours=9)
    return {
        "another cluster's": replace(other, roots=roots),
        "expired": late,
        "not yet valid": early,
        # The names are right, the signature is not.
        "self-made": replace(_with_names_of(OLD, signed_by=OTHER), roots=roots),
    }


def _with_names_of(imitated: str, *, signed_by: str) -> TlsMaterial:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    from registryd.identity.authority import Authority  # noqa: PLC0415
    from registryd.identity.certificate import Validity  # noqa: PLC0415

    forger = Authority(Secret(signed_by))
    forger._party = Authority(Secret(imitated))._party
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    leaf = forger.issue(key.public_key(), node="a", validity=Validity(now, now + timedelta(hours=1)))
    return replace(
        minted(imitated),
        chain=leaf.public_bytes(Encoding.PEM),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
