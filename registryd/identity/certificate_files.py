"""Material from the operator's own certificates, as cert-manager or a script writes and renews them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.identity.errors import CertificateInvalid
from registryd.identity.material import TlsMaterial
from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A bundle of all public authorities has 0.2 MB, and would be a mistake here.
_MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files. `name` is the DNS name that the certificates of all members carry.

    Any certificate that the authorities issued makes a member: one for clients may ask, one for servers with the name
    may be asked. So they should be this cluster's own authorities. RSA, ECDSA P-256 or P-384: gRPC takes no others.
    """

    certificate: Path
    """This node's certificate, and the intermediates under it."""

    key: Path
    authorities: Path
    name: str

    @property
    def paths(self) -> Sequence[Path]:
        return self.certificate, self.key, self.authorities

    @property
    def private_path(self) -> Path:
        return self.key

    def load(self) -> TlsMaterial:
        """The present content of the files; raises CertificateInvalid."""
        chain, key, roots = map(_read, self.paths)
        return TlsMaterial(chain, key, roots, self.name)


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, most_bytes=_MAX_BYTES)
    except OSError as error:
        raise CertificateInvalid(f"{path}: {error.strerror}") from error
