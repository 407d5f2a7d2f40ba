"""A certificate that is its own authority: for a registry behind TLS, and for the signatures of a token server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.commands import require, run

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class KeyPair:
    """Files in PEM."""

    certificate: Path
    key: Path


async def make_key_pair(folder: Path, *, address: str) -> KeyPair:
    """Make one in this folder, for a server at this IP address; ECDSA on P-256."""
    pair = KeyPair(folder / "server.pem", folder / "server.key")
    extensions = [f"subjectAltName=IP:{address}", "keyUsage=critical,digitalSignature,keyCertSign"]
    await run(
        require("openssl", package="openssl"),
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"),
        *("-subj", "/CN=registryd lab"),
        *(word for extension in extensions for word in ("-addext", extension)),
        "-keyout",
        str(pair.key),
        "-out",
        str(pair.certificate),
    )
    return pair
