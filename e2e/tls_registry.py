"""A registry over TLS, with an authority of its own, that only talks to whom it knows."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.commands import require
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.namespaces import Namespace


@dataclass(frozen=True)
class Certificates:
    """Files: the authority, the server's and a client's certificate and key."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name


def make_certificates(folder: Path, address: str) -> Certificates:
    folder.mkdir(parents=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("lab authority", ca_key, None, ca_key, [])
    names: dict[str, list[x509.GeneralName]] = {"server": [x509.IPAddress(ipaddress.ip_address(address))], "client": []}
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name, alternatives in names.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, ca, ca_key, alternatives)
        (folder / f"{name}.cert").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return Certificates(folder)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate | None,
    ca_key: ec.EllipticCurvePrivateKey,
    alternatives: list[x509.GeneralName],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


@contextlib.asynccontextmanager
async def running_tls_registry(
    storage: Path, address: str, certificates: Certificates, *, folder: Path, namespace: Namespace
) -> AsyncIterator[None]:
    """Serves what another registry keeps in `storage`, over TLS and to clients with a certificate only."""
    folder.mkdir()
    tls = {
        "certificate": str(certificates.path("server.cert")),
        "key": str(certificates.path("server.key")),
        "clientcas": [str(certificates.path("ca.crt"))],
    }
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": address, "tls": tls},
    }
    (folder / "registry.yml").write_text(json.dumps(settings))
    argv = [require("docker-registry", package="docker-registry"), "serve", str(folder / "registry.yml")]
    log, quiet = folder / "registry.log", {"OTEL_TRACES_EXPORTER": "none"}
    process = await Process.start(argv, log=log, namespace=namespace, environment=quiet)
    try:
        await process.wait_ready(lambda: _listens(address, namespace))
        yield
    finally:
        await process.stop()


async def _listens(address: str, namespace: Namespace) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with namespace.open_socket() as sock:
            await asyncio.to_thread(sock.connect, (host, int(port)))
    except OSError:
        return False
    return True
