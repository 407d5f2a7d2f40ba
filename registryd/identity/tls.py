"""Python's TLS contexts from material: 1.3 only, both sides show a certificate, nothing is resumed."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.identity.material import TlsMaterial


class MemberClientContext(ssl.SSLContext):
    """Checks that the server is a member, under whatever address it was reached.

    The connecting code need not know the members' name, and cannot forget to check it.
    """

    member_name: str

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **options | {"server_hostname": self.member_name})

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **options | {"server_hostname": self.member_name})


def client_context(material: TlsMaterial) -> MemberClientContext:
    """A context for one material; connections that were made with it live on when it is replaced."""
    context = MemberClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.member_name = material.name
    _restrict(context)
    _equip(context, material)
    return context


def handshake_context(material: TlsMaterial) -> ssl.SSLContext:
    """The context of a server's handshakes while this material is current."""
    context = _bare_server_context()
    _equip(context, material)
    return context


def listener_context(current: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context for a listener's whole life: each handshake is done with the context that is current when it begins.

    It has no certificate and trusts nobody: a handshake that for some reason were not handed over would fail.
    """
    context = _bare_server_context()

    def hand_over(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current()

    # Called in each handshake, also when the client names no server.
    context.sni_callback = hand_over
    return context


def _bare_server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A resumed session would not be checked against the authorities that are accepted by then.
    context.num_tickets = 0
    _restrict(context)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # An intermediate authority may be the one that is trusted; gRPC does the same (ssl_transport_security.cc).
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _equip(context: ssl.SSLContext, material: TlsMaterial) -> None:
    context.load_verify_locations(cadata=material.roots.decode("ascii", errors="ignore"))
    # The ssl module reads keys from files only. This one is memory of this process, without a name in any directory.
    with os.fdopen(os.memfd_create("registryd-certificate", os.MFD_CLOEXEC), "wb") as file:
        file.write(material.private_key + material.chain)
        file.flush()
        # With a password, if an empty one: for an encrypted key OpenSSL would ask at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
