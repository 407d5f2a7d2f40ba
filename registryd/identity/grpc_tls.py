"""gRPC's credentials from material. BoringSSL does the handshakes; 1.3 only, see `tls_version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.identity.material import TlsMaterial


def server_credentials(current: Callable[[], TlsMaterial]) -> grpc.ServerCredentials:
    """Credentials for a port's whole life: each handshake is done with the material that is current when it begins."""
    handed_out = current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called in a thread of gRPC before each handshake. None lets it keep the contexts that it has built.
        nonlocal handed_out
        material = current()
        if material is handed_out:
            return None
        handed_out = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(handed_out),
        fetch,  # type: ignore[arg-type] # the stubs leave out that it may return None (grpc's documentation)
        require_client_authentication=True,
    )


def channel_credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    """Credentials for the connections of a channel, its later ones included."""
    return grpc.ssl_channel_credentials(material.roots, material.private_key, material.chain)


def channel_options(material: TlsMaterial) -> tuple[tuple[str, str], ...]:
    """Makes a channel check the members' name and not the address under which a member was reached."""
    return (("grpc.ssl_target_name_override", material.name),)


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.private_key, material.chain)], material.roots)
