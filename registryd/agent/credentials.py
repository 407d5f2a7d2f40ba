"""How this node proves to others that it is a member, and its containerd to this node that it is it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registryd.config.agent import PeerTransport
from registryd.failures import SettingsError
from registryd.identity.credentials import NoCredentials, PeerCredentials
from registryd.identity.errors import IdentityError
from registryd.identity.node_token import NodeToken
from registryd.identity.ticket import Tickets

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.aio.scope import Scope
    from registryd.config.agent import PeersSettings, Settings
    from registryd.identity.material import MaterialSource
    from registryd.observability.metrics import Metrics

_log = logging.getLogger(__name__)


async def make_credentials(settings: Settings, scope: Scope, metrics: Metrics) -> PeerCredentials:
    """The credentials of the settings, kept current while the scope lasts. Raises SettingsError."""
    peers = settings.peers
    metrics.peers_insecure(insecure=peers.insecure)
    if not peers.has_credentials:
        if peers.insecure:
            _log.warning("peers.insecure is set: anyone who reaches the peers' ports can fetch this node's images")
        return NoCredentials()
    # Not needed without a secret, and the heaviest import after gRPC.
    from registryd.identity.membership import MemberCredentials  # noqa: PLC0415

    try:
        # In a thread, because minting takes 0.1 s, on a busy node seconds, and probes are answered meanwhile.
        credentials = await asyncio.to_thread(MemberCredentials, _material(peers, node=settings.agent.node_name))
    except IdentityError as error:
        key = "peers.secret_file" if peers.secret_file else "peers.tls_cert"
        raise SettingsError(key, str(error)) from error
    scope.serve(credentials.keep_current, name="certificates")
    return credentials


def make_tickets(peers: PeersSettings) -> Tickets | None:
    """Tickets, where bytes travel without TLS between members; None with TLS, and where no check is wanted."""
    return Tickets() if peers.has_credentials and peers.transport is PeerTransport.PLAIN else None


def make_token(key: str, path: Path | None, scope: Scope) -> NodeToken | None:
    """The token of the file that the setting `key` names, followed while the scope lasts. Raises SettingsError."""
    if path is None:
        return None
    try:
        token = NodeToken(path)
    except IdentityError as error:
        raise SettingsError(key, str(error)) from error
    scope.serve(token.keep_current, name="node token")
    return token


def _material(peers: PeersSettings, *, node: str) -> MaterialSource:
    if peers.secret_file:
        from registryd.identity.minted import MintedMaterial  # noqa: PLC0415

        return MintedMaterial(peers.secret_file, node=node, clock=lambda: datetime.now(UTC))
    from registryd.identity.certificate_files import CertificateFiles  # noqa: PLC0415

    if peers.tls_cert is None or peers.tls_key is None or peers.tls_ca is None:
        raise ValueError("PeersSettings lets neither be without the others")
    return CertificateFiles(peers.tls_cert, peers.tls_key, peers.tls_ca, name=peers.tls_name)
