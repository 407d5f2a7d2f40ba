"""Making a node's certificate from the cluster's secrets: a program of its own, started by the agent when it needs one.

    python -m registryd.identity.minting FILE NODE TIME    prints the material as JSON

cryptography is needed for nothing else and keeps 11 MiB of an agent's memory for as long as it runs, 15 in a hundred
(benchmarks.memory), while a certificate is made once in sixteen hours.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registryd.identity.authority import Authority
from registryd.identity.certificate import MEMBER_NAME, Validity
from registryd.identity.lifetime import BACKDATED, LIFETIME
from registryd.identity.material import TlsMaterial
from registryd.identity.secret import read_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import Certificate

    from registryd.identity.secret import Secret


def main() -> None:
    """Read the command line, print the material. The parent process has reported errors of the secrets."""
    file, node, now = sys.argv[1:]
    json.dump(mint_from(Path(file), node=node, now=datetime.fromisoformat(now)).as_texts(), sys.stdout)


def mint_from(secret_file: Path, *, node: str, now: datetime) -> TlsMaterial:
    """`mint` with the secrets of a file. Raises SecretInvalid."""
    return mint(read_secrets(secret_file), node=node, now=now)


def mint(secrets: Sequence[Secret], *, node: str, now: datetime) -> TlsMaterial:
    """A certificate with a fresh key from the first secret, acceptable to every node that has any of the secrets."""
    authorities = [Authority(secret) for secret in secrets]
    validity = Validity(now - BACKDATED, now + LIFETIME)
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


if __name__ == "__main__":
    main()
