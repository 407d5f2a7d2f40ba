"""A node for `registryd install`: a real containerd whose files are ours to write, and a mirror that only listens.

The lab's own Containerd writes its configuration at each start; here that is what the tests are about.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registryd.lab.commands import require, run
from registryd.lab.containerd_config import Options, Places, config_toml
from registryd.lab.cri import ImageService
from registryd.lab.fetch import fetch
from registryd.lab.process import Process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.lab.namespaces import Namespace
    from registryd.lab.toml_text import Table
    from registryd.lab.versions import Release

MIRROR = "127.0.0.1:3172"
_MIRROR_PROGRAM = """
import http.server, json, sys
class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with open(sys.argv[1], "a") as log:
            log.write(json.dumps([self.command, self.path, self.headers.get("Registryd-Token")]) + "\\n")
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", 3172), Mirror).serve_forever()
"""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    token: str | None

    @property
    def registry(self) -> str:
        return self.path.partition("ns=")[2].replace("%3A", ":")


@dataclass
class NodeLab:
    """One node: containerd's folder, its namespace, what the mirror on it was asked."""

    release: Release
    places: Places
    namespace: Namespace
    images: ImageService
    containerd: Process | None = None

    # containerd

    def write_config(self, text: str) -> None:
        self.places.config.write_text(text)

    async def start(self) -> None:
        argv = [self.release.containerd, "--config", str(self.places.config)]
        environment = {"PATH": f"{self.release.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        log = self.places.folder / "containerd.log"
        self.containerd = await Process.start(argv, log=log, namespace=self.namespace, environment=environment)
        await self.containerd.wait_ready(self.images.is_ready)

    async def stop(self) -> None:
        if self.containerd:
            await self.containerd.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def dump(self) -> str:
        return await run(self.release.containerd, "--config", str(self.places.config), "config", "dump")

    async def pull(self, reference: str) -> None:
        await self.images.remove(reference)
        await self.images.pull(reference, timeout=20)

    # registryd

    async def registryd(self, *words: str) -> str:
        paths = ["--containerd-config", self.places.config, "--containerd-program", self.release.containerd]
        state = ["--state", self.places.folder / "state-of-registryd"]
        return await run(sys.executable, "-m", "registryd", *words, *map(str, [*paths, *state]))

    def asked(self) -> list[Asked]:
        """What the mirror was asked since this was called last."""
        log = self.places.folder / "mirror.json"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return [asked for asked in (Asked(*json.loads(line)) for line in lines) if asked.registry]

    # Files

    def hosts(self, registry: str, text: str | None) -> Path:
        """Write a hosts.toml; None makes its folder only."""
        folder = self.places.hosts / registry
        folder.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (folder / "hosts.toml").write_text(text)
        return folder

    def files(self) -> dict[str, tuple[int, bytes | None]]:
        """Everything that an install may touch, with modes."""
        found = {}
        kept = {self.places.root, self.places.state}
        for path in self.places.folder.rglob("*"):
            is_containerds = any(each in (path, *path.parents) for each in kept) or path.suffix in {".log", ".json"}
            if not is_containerds and not path.is_socket():
                status = path.lstat()
                found[str(path)] = status.st_mode, path.read_bytes() if path.is_file() else None
        return found


@contextlib.asynccontextmanager
async def running_node(
    release: Release, folder: Path, namespace: Namespace, config: str = ""
) -> AsyncIterator[NodeLab]:
    """A node whose containerd runs with the given configuration, and whose mirror has nothing."""
    places = Places(folder)
    places.hosts.mkdir(parents=True)
    node = NodeLab(release, places, namespace, ImageService(places.socket))
    node.write_config(config or config_toml(release, places, Options()))
    argv = [sys.executable, "-c", _MIRROR_PROGRAM, str(folder / "mirror.json")]
    async with running(argv, log=folder / "mirror.log", namespace=namespace) as mirror:
        await mirror.wait_ready(lambda: _answers(namespace))
        try:
            await node.start()
            yield node
        finally:
            await node.stop()


async def _answers(namespace: Namespace) -> bool:
    try:
        return (await fetch(f"http://{MIRROR}/v2/", namespace=namespace)).status > 0
    except OSError:
        return False


def config_without_path(release: Release, places: Places, extra: Table) -> str:
    """The lab's configuration of that version without a config_path."""
    text = config_toml(release, places, Options(extra=extra))
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith('"config_path"'))


# A registry over TLS, with an authority of its own, that only talks to whom it knows


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
