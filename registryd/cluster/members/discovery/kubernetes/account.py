"""The pod's service account: the address of the API server, and the token that identifies the pod to it."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, NotInCluster
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where the kubelet puts it into every pod (Kubernetes, "Accessing the Kubernetes API from a Pod").
MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Bound tokens are 1 to 2 KB; a file of another kind must not become a header.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}", re.ASCII)
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class ServiceAccount:
    """Reads the mounted files when they are needed, because the kubelet exchanges them: a token lives for an hour."""

    def __init__(self, server: Address, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._authorities = b""
        self._tls: ssl.SSLContext | None = None

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str], *, folder: Path = MOUNTED) -> Self:
        """Raises NotInCluster where there is none."""
        try:
            host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
            server = Address(host.strip("[]"), int(port))
        except (KeyError, ValueError) as error:
            raise NotInCluster("KUBERNETES_SERVICE_HOST and _PORT do not name an API server: not in a pod?") from error
        account = cls(server, folder)
        try:
            account.token()
        except ApiFailed as error:
            raise NotInCluster(f"{error}; is automountServiceAccountToken off?") from error
        return account

    def namespace(self) -> str:
        """The pod's namespace; raises NotInCluster when the file does not tell."""
        try:
            name = (self._folder / "namespace").read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise NotInCluster(f"cannot read {self._folder / 'namespace'}: {error}") from error
        if not _NAMESPACE.fullmatch(name):
            raise NotInCluster(f"{self._folder / 'namespace'} has no namespace in it")
        return name

    def token(self) -> str:
        """The bearer token as it is now; raises ApiFailed when there is none."""
        try:
            text = (self._folder / "token").read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise ApiFailed(f"cannot read {self._folder / 'token'}: {error}") from error
        if not _TOKEN.fullmatch(text):
            raise ApiFailed(f"{self._folder / 'token'} has no token in it")
        return text

    def tls(self) -> ssl.SSLContext:
        """Trusts the cluster's own authority and no other; the same object until the file changes."""
        path = self._folder / "ca.crt"
        try:
            authorities = path.read_bytes()
            if self._tls is None or authorities != self._authorities:
                self._tls = _trusting(authorities.decode("ascii"))
                self._authorities = authorities
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ApiFailed(f"cannot read the cluster's authority from {path}: {error}") from error
        return self._tls


def _trusting(authorities: str) -> ssl.SSLContext:
    # Not ssl.create_default_context: given nothing, it trusts every authority of the system.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities)
    return context
