"""The operator's own certificates: accepted, renewed, and refused where it can be put right."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from registryd.identity.certificate_files import CertificateFiles
from registryd.identity.errors import CertificateInvalid
from registryd.identity.membership import MemberCredentials
from tests.identity.doors import ANSWER, call, grpc_door, read_tls, tls_door
from tests.identity.issuer import Issuer, Order

if TYPE_CHECKING:
    from pathlib import Path

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt", name="registryd.peer")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
async def test_members_with_certificates_of_their_own(files: CertificateFiles, issuer: Issuer, kind: str) -> None:
    keys: dict[str, Key] = {
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    credentials = MemberCredentials(issuer.write(files, Order(key=keys[kind])))
    async with tls_door(credentials) as bytes_door, grpc_door(credentials) as find_door:
        assert await read_tls(bytes_door.port, credentials.client_context()) == ANSWER
        async with credentials.open_channel(f"127.0.0.1:{find_door.port}") as channel:
            assert await call(channel) == ANSWER


async def test_a_renewal_is_used_by_listeners_that_stand(files: CertificateFiles, issuer: Issuer) -> None:
    credentials = MemberCredentials(issuer.write(files))
    async with tls_door(credentials) as door:
        issuer.write(files, Order(days=90))
        credentials.refresh()
        assert credentials.generation == 2
        assert (credentials.expires_at - datetime.now(UTC)).days >= 89
        assert await read_tls(door.port, credentials.client_context()) == ANSWER


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (Order(name="other.example"), "not valid for 'registryd.peer'"),
        (Order(days=-1), "expired"),
        (Order(usages=(Usage.SERVER_AUTH,)), "unsuitable certificate purpose"),
        (Order(usages=(Usage.CLIENT_AUTH,)), "unsuitable certificate purpose"),
        (Order(password=b"open sesame"), "tls.key"),
    ],
)
def test_what_peers_would_refuse(files: CertificateFiles, issuer: Issuer, order: Order, complaint: str) -> None:
    with pytest.raises(CertificateInvalid, match=complaint):
        MemberCredentials(issuer.write(files, order))


def test_a_key_of_another_certificate(files: CertificateFiles, issuer: Issuer) -> None:
    key = issuer.write(files).key.read_bytes()
    issuer.write(files).key.write_bytes(key)
    with pytest.raises(CertificateInvalid, match="KEY_VALUES_MISMATCH"):
        MemberCredentials(files)


def test_an_authority_that_did_not_issue_it(files: CertificateFiles, issuer: Issuer) -> None:
    issuer.write(files).authorities.write_bytes(Issuer().certificate.public_bytes(Encoding.PEM))
    with pytest.raises(CertificateInvalid, match=r"ca\.crt: peers would refuse this node"):
        MemberCredentials(files)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize("which", ["certificate", "key", "authorities"])
def test_files_that_are_no_pem(files: CertificateFiles, issuer: Issuer, which: str, content: bytes) -> None:
    getattr(issuer.write(files), which).write_bytes(content)
    with pytest.raises(CertificateInvalid):
        MemberCredentials(files)


def test_files_that_cannot_be_read(files: CertificateFiles, issuer: Issuer, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"#" * 2_000_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, problem in ((tmp_path / "none", "No such file"), (large, "larger"), (pipe, "is a pipe or a device")):
        with pytest.raises(CertificateInvalid, match=problem):
            MemberCredentials(replace(issuer.write(files), authorities=path))
