"""The two shapes of certificate that the cluster issues, complete enough for the strictest reader.

Python 3.13 and later verify strictly by default (VERIFY_X509_STRICT): basicConstraints, keyUsage, and the
identifiers of the subject's and the issuer's key have to be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

# The name that every member's certificate carries. Peers are found under addresses that change, so what a client
# checks is that it speaks with a member, not with which.
MEMBER_NAME: Final = "registryd.peer"


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate counts."""

    not_before: datetime
    not_after: datetime


# No wrong clock makes an authority invalid: it ends with its secret. The last second is RFC 5280's (4.1.2.5) for
# "no well-defined expiration date".
FOR_EVER: Final = Validity(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Party:
    """A party that a certificate can name."""

    name: str
    key: EllipticCurvePublicKey


def certify(
    subject: Party,
    *,
    issuer: Party,
    signing_key: EllipticCurvePrivateKey,
    validity: Validity,
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
) -> x509.Certificate:
    """Sign that the name and the key of the subject belong together."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(subject.name))
        .issuer_name(_common_name(issuer.name))
        .public_key(subject.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject.key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(signing_key, SHA256())


def authority_extensions() -> list[x509.Extension[x509.ExtensionType]]:
    """The extensions of a certificate that signs certificates, and nothing else."""
    return [
        _critical(x509.BasicConstraints(ca=True, path_length=None)),
        _critical(_usage(sign_certificates=True)),
    ]


def member_extensions() -> list[x509.Extension[x509.ExtensionType]]:
    """The extensions of a member that signs handshakes, as client and server, under the members' name."""
    return [
        _critical(x509.BasicConstraints(ca=False, path_length=None)),
        _critical(_usage(sign_certificates=False)),
        _plain(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])),
        _plain(x509.SubjectAlternativeName([x509.DNSName(MEMBER_NAME)])),
    ]


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _critical(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical=True, value=value)


def _plain(value: x509.ExtensionType) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical=False, value=value)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
