"""The certificate authority that every holder of a cluster secret derives alike, without asking anyone.

ECDSA P-256, because gRPC's TLS library (BoringSSL) does not accept Ed25519 certificates unless told to, and gRPC
has no way to tell it (grpc issue 24252). Two agents' copies of the authority differ in their random signature only;
what makes a trust anchor, name and key, is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from registryd.identity.certificate import FOR_EVER, Party, authority_extensions, certify, member_extensions

if TYPE_CHECKING:
    from registryd.identity.certificate import Validity
    from registryd.identity.secret import Secret

_KEY_LABEL: Final = "authority/p256/v1"
# The number of elements of the P-256 group (SEC 2, 2.4.2).
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# 64 bits more than the order has: the bias of the remainder is then below 2^-64 (FIPS 186-5, A.2.1).
_KEY_BYTES: Final = 40
# Of the key's identifier in the name: authorities of one cluster must not have the same name, or chains are
# searched in the wrong one first.
_ID_DIGITS: Final = 16
# The upper bound of a common name (X.520). Node names may be longer; the name is for operators only.
_MAX_COMMON_NAME: Final = 64


class Authority:
    """Issues the certificates that members of a cluster show each other. Holds the private key, and never shows it."""

    def __init__(self, secret: Secret) -> None:
        self._key = _derive_key(secret)
        key = self._key.public_key()
        self._party = Party(f"registryd cluster {_key_id(key)[:_ID_DIGITS]}", key)
        self.certificate: Final = self.endorse(self, FOR_EVER)

    def endorse(self, other: Authority, validity: Validity) -> x509.Certificate:
        """Tell those who trust this authority to trust what the other one issues."""
        return self._certify(other._party, validity, authority_extensions())

    def issue(self, key: ec.EllipticCurvePublicKey, *, node: str, validity: Validity) -> x509.Certificate:
        """The certificate of a member, as client and as server."""
        return self._certify(Party(_readable(node), key), validity, member_extensions())

    def _certify(
        self, subject: Party, validity: Validity, extensions: list[x509.Extension[x509.ExtensionType]]
    ) -> x509.Certificate:
        return certify(subject, issuer=self._party, signing_key=self._key, validity=validity, extensions=extensions)


def _derive_key(secret: Secret) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(secret.derive(_KEY_LABEL, length=_KEY_BYTES))
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def _readable(node: str) -> str:
    return node.encode("ascii", errors="replace").decode("ascii")[:_MAX_COMMON_NAME] or "unnamed"


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()
