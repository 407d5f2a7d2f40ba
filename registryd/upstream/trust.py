"""Whom a TLS connection to an upstream trusts, and what it shows of itself."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.plain_file import read_plain
from registryd.upstream.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# A bundle of all public authorities has 0.2 MB.
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class TlsTrust:
    """The host's CA bundle and these certificates; optionally a client certificate; `verify` off trusts anyone.

    The host's bundle is where OpenSSL has it, or where SSL_CERT_FILE and SSL_CERT_DIR say (as for containerd).
    """

    ca_files: tuple[Path, ...] = ()
    client_certificate: Path | None = None
    client_key: Path | None = None
    verify: bool = True

    def context(self, *, identify: bool) -> ssl.SSLContext:
        """Read the files; with the client certificate if `identify`. Blocks for some 10 ms: the host's bundle is long.

        Raises UpstreamUnreachable naming the file that cannot be used.
        """
        context = ssl.create_default_context()
        # Since Python 3.13 it would refuse what containerd trusts: a private CA whose certificates do not name its key.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        for path in self.ca_files:
            with _naming(path):
                pem = read_plain(path, most_bytes=_MOST_BYTES)
                context.load_verify_locations(cadata=pem.decode("ascii", errors="ignore"))
        if identify and self.client_certificate is not None:
            self._identify(context, self.client_certificate)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _identify(self, context: ssl.SSLContext, certificate: Path) -> None:
        for path in filter(None, (certificate, self.client_key)):
            with _naming(path):
                read_plain(path, most_bytes=_MOST_BYTES)  # OpenSSL would wait in a pipe
        with _naming(certificate):
            # With a password, if an empty one: for an encrypted key OpenSSL would ask at the terminal.
            context.load_cert_chain(certificate, self.client_key, password="")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise UpstreamUnreachable(f"{path} cannot be used for TLS: {error.strerror or error}") from error
    except ValueError as error:  # an empty file of authorities
        raise UpstreamUnreachable(f"{path} cannot be used for TLS: {error}") from error
