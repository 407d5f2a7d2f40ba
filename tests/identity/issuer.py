"""An operator's own authority, and the certificates that it gives to nodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from registryd.identity.certificate_files import CertificateFiles

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Order:
    """What the certificate is to be like."""

    name: str = "registryd.peer"
    days: float = 1
    usages: tuple[x509.ObjectIdentifier, ...] = (Usage.SERVER_AUTH, Usage.CLIENT_AUTH)
    key: Key | None = None
    password: bytes = b""


class Issuer:
    """An authority as an operator runs it: no more extensions than it has to have."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("an operator's authority")
        ca = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = (
            self._build(self._name, self._key, days=365).add_extension(ca, critical=True).sign(self._key, SHA256())
        )

    def _build(self, subject: x509.Name, key: Key, *, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name, subject, key.public_key(), 7, now - timedelta(days=30), now + timedelta(days=days)
        )

    def write(self, files: CertificateFiles, order: Order | None = None) -> CertificateFiles:
        order = order or Order()
        key = order.key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._build(_name("node"), key, days=order.days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(order.name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(order.usages), critical=False)
            .sign(self._key, SHA256())
        )
        encryption = BestAvailableEncryption(order.password) if order.password else NoEncryption()
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        files.key.chmod(0o600)
        files.authorities.write_bytes(
            "# Zertifikate für registryd\n".encode() + self.certificate.public_bytes(Encoding.PEM)
        )
        return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
