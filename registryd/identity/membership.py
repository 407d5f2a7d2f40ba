"""Mutual TLS between members, kept right while files are replaced and certificates expire."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

import grpc.aio

from registryd.identity.errors import CertificateInvalid
from registryd.identity.exposure import warn_if_exposed
from registryd.identity.grpc_tls import channel_credentials, channel_options, server_credentials
from registryd.identity.rehearsal import shake_hands
from registryd.identity.tls import client_context, handshake_context, listener_context
from registryd.identity.watch import follow

if TYPE_CHECKING:
    from datetime import datetime

    from registryd.identity.credentials import Options
    from registryd.identity.material import MaterialSource, TlsMaterial

_log = logging.getLogger(__name__)


class MemberCredentials:
    """ServerCredentials and ClientCredentials in one; raises IdentityError when the first material cannot be loaded."""

    def __init__(self, source: MaterialSource) -> None:
        self._source = source
        self._generation = 0
        self._use(source.load())
        warn_if_exposed(source.private_path)

    # What connections are made of

    @property
    def generation(self) -> int:
        return self._generation

    def add_grpc_port(self, server: grpc.aio.Server, address: str) -> int:
        return server.add_secure_port(address, server_credentials(lambda: self._material))

    def listener_context(self) -> ssl.SSLContext:
        return listener_context(lambda: self._handshakes)

    def still_accepts(self, connection: ssl.SSLObject | None) -> bool:
        return connection is None or connection.context is self._handshakes

    def open_channel(self, target: str, options: Options = ()) -> grpc.aio.Channel:
        options = (*channel_options(self._material), *options)
        return grpc.aio.secure_channel(target, self._for_channels, options)

    def client_context(self) -> ssl.SSLContext:
        return self._for_clients

    @property
    def expires_at(self) -> datetime:
        """When peers stop accepting this node unless its certificate is renewed before."""
        return self._expires_at

    # Keeping them right

    async def keep_current(self) -> None:
        """Follow the files and the clock until cancelled. An error is reported once, and changes nothing."""
        await follow(self._source.paths, self.refresh)

    def refresh(self) -> None:
        """Look at the files and the clock now; from any thread. Raises IdentityError; what is in use then stays."""
        material = self._source.load()
        if material != self._material:
            self._use(material)

    def _use(self, material: TlsMaterial) -> None:
        handshakes, for_clients, expires_at = self._rehearse(material)
        self._material, self._expires_at = material, expires_at
        self._handshakes, self._for_clients = handshakes, for_clients
        self._for_channels = channel_credentials(material)
        # Last: a task that sees it finds the files that belong to it.
        self._generation += 1
        _log.info("this node has a new certificate", extra={"expires": expires_at.isoformat()})

    def _rehearse(self, material: TlsMaterial) -> tuple[ssl.SSLContext, ssl.SSLContext, datetime]:
        try:
            server, client = handshake_context(material), client_context(material)
            return server, client, shake_hands(client, server)
        except (ssl.SSLError, ValueError) as error:
            names = ", ".join(map(str, self._source.paths))
            raise CertificateInvalid(f"{names}: peers would refuse this node: {_reason(error)}") from error


def _reason(error: ssl.SSLError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    # OpenSSL's own words, without the line of C that says them.
    return getattr(error, "reason", None) or str(error)
