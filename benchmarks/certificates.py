"""A private CA and one certificate that serves as server and client, made by openssl for one run."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_EXTENSIONS = "subjectAltName=IP:127.0.0.1\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM."""

    ca: Path
    certificate: Path
    key: Path

    def as_texts(self) -> dict[str, str]:
        """The paths by name, for templates and command lines."""
        return {"ca": str(self.ca), "certificate": str(self.certificate), "key": str(self.key)}

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 with the client certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make them in this folder: ECDSA on P-256, as agents use among themselves."""
    (folder / "extensions").write_text(_EXTENSIONS)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    ca = [*key, "-x509", "-subj", "/CN=benchmark", *usage, "-keyout", "ca.key", "-out", "ca.pem"]
    request = [*key, "-subj", "/CN=127.0.0.1", "-keyout", "node.key", "-out", "node.csr"]
    sign = [
        "-req",
        "-in",
        "node.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-extfile",
        "extensions",
        "-out",
        "node.pem",
    ]
    for command in (["req", *ca], ["req", *request], ["x509", *sign]):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return Certificates(folder / "ca.pem", folder / "node.pem", folder / "node.key")
