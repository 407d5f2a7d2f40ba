"""A token server as Docker Hub and Harbor have one (distribution, "Token Authentication"), for a docker-registry.

A program of its own: `python -m lab.token_server HOST:PORT CERTIFICATE KEY USER:PASSWORD PUBLIC...`. Anyone
gets a token for the PUBLIC repositories, the user for all. Every request is a line on standard output.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

if TYPE_CHECKING:
    from lab.authority import KeyPair

ISSUER: Final = "registryd lab"
SERVICE: Final = "registryd lab registry"
_LIFE_SECONDS: Final = 300
_COORDINATE_BYTES: Final = 32


def registry_settings(realm: str, pair: KeyPair) -> dict[str, Any]:
    """What a docker-registry needs to accept the tokens of the server at this address."""
    token = {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(pair.certificate)}
    return {"auth": {"token": token}}


class Signer:
    """Makes tokens: JSON Web Tokens (RFC 7519), ES256, with the certificate in the header."""

    def __init__(self, certificate: Path, key: Path) -> None:
        loaded = load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError("the key must be ECDSA")
        self._key = loaded
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
        self._header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}

    def token(self, access: list[dict[str, Any]], *, subject: str) -> str:
        """A token that opens this."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "exp": now + _LIFE_SECONDS,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = f"{_encoded(json.dumps(self._header).encode())}.{_encoded(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(b''.join(part.to_bytes(_COORDINATE_BYTES, 'big') for part in (r, s)))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    signer: Signer
    login: str
    public: frozenset[str]

    def do_POST(self) -> None:
        # OAuth 2, which containerd tries first; after this it asks by GET, as it does at Docker Hub's kind of server.
        self.send_error(405)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        given = self.headers.get("Authorization")
        if given not in {None, f"Basic {base64.b64encode(self.login.encode()).decode()}"}:
            self.send_error(401)
            return
        access = [
            {"type": "repository", "name": name, "actions": ["pull"]}
            for scope in query.get("scope", [])
            for name in [scope.split(":")[1]]
            if given or name in self.public
        ]
        body = json.dumps({"token": self.signer.token(access, subject="puller" if given else ""), "expires_in": 300})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it so
        sys.stdout.write(f"{format % args}\n")
        sys.stdout.flush()


def serve(address: str, certificate: Path, key: Path, login: str, public: frozenset[str]) -> None:
    """Answer until the process ends."""
    _Handler.signer, _Handler.login, _Handler.public = Signer(certificate, key), login, public
    host, _, port = address.rpartition(":")
    ThreadingHTTPServer((host, int(port)), _Handler).serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], frozenset(sys.argv[5:]))
