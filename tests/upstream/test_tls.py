"""TLS to upstreams: whose certificates are trusted, and to whom ours is shown."""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registryd.oci.reference import Registry, Repository, Tag
from registryd.upstream.client import RegistryClient, open_client
from registryd.upstream.endpoint import Endpoint, Site
from registryd.upstream.errors import DestinationForbidden, UpstreamFailed, UpstreamUnreachable
from registryd.upstream.proxies import Proxies
from registryd.upstream.trust import TlsTrust
from tests.fakes import upstream as fakes
from tests.fakes.images import oci_image
from tests.fakes.upstream import FakeUpstream, open_upstream
from tests.upstream.tunnels import open_tunnels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

APP = Repository(Registry("registry.example"), "demo/app")
TAG = Tag("v1")


@dataclass(frozen=True)
class Pki:
    """A CA, and a certificate for 127.0.0.1 that serves both ends; files in one folder."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Pki:
        folder.mkdir()
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = _certificate("test root", key=ca_key, issuer="test root", signed_with=ca_key, is_ca=True)
        leaf = _certificate("127.0.0.1", key=key, issuer="test root", signed_with=ca_key, is_ca=False)
        pki = cls(folder / "ca.crt", folder / "own.crt", folder / "own.key")
        pki.ca.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        pki.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        pki.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pki

    def server(self, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as registries in Go do
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED if asks_for_certificate else ssl.CERT_NONE
        return context


def _certificate(
    name: str, *, key: ec.EllipticCurvePrivateKey, issuer: str, signed_with: ec.EllipticCurvePrivateKey, is_ca: bool
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=5),
        not_valid_after=now + timedelta(hours=1),
    ).add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if not is_ca:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signed_with, hashes.SHA256())


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.make(tmp_path / "pki")


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with open_client(clock=time.monotonic, proxies=Proxies()) as client:
        yield client


def at(upstream: FakeUpstream, trust: TlsTrust) -> Endpoint:
    return replace(Endpoint.parse(upstream.url), trust=trust)


async def test_a_private_ca(client: RegistryClient, pki: Pki) -> None:
    async with open_upstream(tls=pki.server()) as upstream:
        with pytest.raises(UpstreamUnreachable, match="certificate is not trusted"):
            await client.ping(at(upstream, TlsTrust()))
        assert not upstream.seen
        await client.ping(at(upstream, TlsTrust(ca_files=(pki.ca,))))
        await client.ping(at(upstream, TlsTrust(verify=False)))


async def test_a_certificate_for_another_name(client: RegistryClient, pki: Pki) -> None:
    async with open_upstream(tls=pki.server()) as upstream:
        endpoint = Endpoint.parse(f"https://localhost:{upstream.port}")
        with pytest.raises(UpstreamUnreachable, match="certificate is not trusted"):
            await client.ping(replace(endpoint, trust=TlsTrust(ca_files=(pki.ca,))))


async def test_the_client_certificate_is_shown_to_the_endpoint_only(client: RegistryClient, pki: Pki) -> None:
    trust = TlsTrust(ca_files=(pki.ca,), client_certificate=pki.certificate, client_key=pki.key)
    tls = pki.server(asks_for_certificate=True)
    async with open_upstream(tls=tls) as upstream, open_upstream(tls=tls) as elsewhere:
        upstream.add("demo/app", oci_image())
        with pytest.raises(UpstreamUnreachable):
            await client.ping(at(upstream, TlsTrust(ca_files=(pki.ca,))))
        endpoint = replace(at(upstream, trust), leads_to=frozenset({Site(elsewhere.host, elsewhere.port)}))
        await client.head_manifest(endpoint, APP, TAG)
        upstream.character = fakes.answering(307, Location=f"{elsewhere.url}/v2/demo/app/manifests/v1")
        with pytest.raises(UpstreamUnreachable):
            await client.head_manifest(endpoint, APP, TAG)
        assert not elsewhere.seen


async def test_no_way_from_https_to_plain_http(client: RegistryClient, pki: Pki) -> None:
    async with open_upstream(tls=pki.server()) as upstream, open_upstream() as plain:
        endpoint = replace(
            at(upstream, TlsTrust(ca_files=(pki.ca,))), leads_to=frozenset({Site(plain.host, plain.port)})
        )
        upstream.character = fakes.answering(307, Location=f"{plain.url}/v2/demo/app/manifests/v1")
        with pytest.raises(DestinationForbidden, match="plain HTTP"):
            await client.head_manifest(endpoint, APP, TAG)
        assert not plain.seen


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
async def test_a_file_that_cannot_be_used_is_named(client: RegistryClient, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    endpoint = Endpoint.parse("https://registry.example")
    with pytest.raises(UpstreamFailed, match=r"ca\.crt"):
        await client.ping(replace(endpoint, trust=TlsTrust(ca_files=(path,))))


@pytest.mark.parametrize("place", ["ca", "certificate", "key"])
def test_a_named_pipe_is_named_and_keeps_no_thread_waiting(pki: Pki, place: str) -> None:
    path: Path = getattr(pki, place)
    path.unlink()
    os.mkfifo(path)
    trust = TlsTrust(ca_files=(pki.ca,), client_certificate=pki.certificate, client_key=pki.key)
    with pytest.raises(UpstreamUnreachable, match=rf"{path.name} cannot be used for TLS: is a pipe"):
        trust.context(identify=True)


async def test_a_proxy_that_is_spoken_to_by_tls_is_trusted_as_the_endpoint_says(pki: Pki) -> None:
    """The upstream itself is plain: only the proxy has a certificate."""
    async with open_upstream(tls=pki.server()) as proxy:
        proxies = Proxies.from_environment({"HTTP_PROXY": f"https://127.0.0.1:{proxy.port}"})
        endpoint = replace(Endpoint.parse("http://registry.example"), is_configured=False)
        async with open_client(clock=time.monotonic, proxies=proxies) as client:
            await client.ping(replace(endpoint, trust=TlsTrust(ca_files=(pki.ca,))))
            assert len(proxy.seen) == 1
            with pytest.raises(UpstreamUnreachable, match="certificate"):
                await client.ping(endpoint)
            assert len(proxy.seen) == 1


async def test_through_a_proxy_whose_login_the_upstream_never_sees(pki: Pki) -> None:
    async with open_upstream(tls=pki.server()) as upstream, open_tunnels(upstream.port) as tunnels:
        proxies = Proxies.from_environment({"HTTPS_PROXY": f"http://user:secret@127.0.0.1:{tunnels.port}"})
        endpoint = Endpoint.parse("https://registry.example")
        # The certificate is for another name: what is shown here is the way, not the trust.
        endpoint = replace(endpoint, is_configured=False, trust=TlsTrust(verify=False))
        async with open_client(clock=time.monotonic, proxies=proxies) as client:
            await client.ping(endpoint)
            assert tunnels.heads[0].startswith("CONNECT registry.example:443 ")
            assert "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in tunnels.heads[0]
            assert [seen.proxy_authorization for seen in upstream.seen] == [None]
            tunnels.refuses = True
            with pytest.raises(UpstreamUnreachable, match="the proxy answers 407") as caught:
                await client.ping(replace(endpoint, trust=TlsTrust(verify=False, ca_files=(pki.ca,))))
            assert "secret" not in repr(caught.value.__context__)
