"""A registry on a host of its own, as companies have it: TLS by an authority of their own, logins, or plain HTTP."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.cri import Credentials
from lab.origin import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.kubernetes.lab.pki import Authority
    from lab.access_log import Access
    from lab.images import Image
    from lab.network import Host
    from lab.toml_text import Table

TENANT = Credentials("tenant", "lab-password")
OTHER_TENANT = Credentials("other", "lab-password")
_BCRYPT = "$2b$05$abcdefghijklmnopqrstuuL/Ej5MNdcjasz4Sr7bjTMIxZn.WGpgG"  # of that password
_BEHIND = "127.0.0.1:5001"  # where the lab pushes to, whoever is let in at the front


@dataclass(frozen=True)
class Registry:
    """`front` is what nodes talk to and may be switched off; `back` is the same content for the lab to push to."""

    name: str  # as references have it
    host: Host
    front: Origin
    back: Origin
    authority: Path | None

    @property
    def scheme(self) -> str:
        return "https" if self.authority else "http"

    async def push(self, image: Image, repository: str) -> str:
        """Push; the reference to pull it by."""
        await self.back.push(image, repository)
        return f"{self.name}/{repository}:{image.tag}"

    def requests(self, *, of: Host | None = None) -> list[Access]:
        """What it was asked for, by all or by one host."""
        return [each for each in self.front.requests() if of is None or each.client == of.ipv4]

    def refusals(self, *, of: Host) -> int:
        """How many requests of a host it refused for want of a login that it knows."""
        lines = (self.front.log_text()).splitlines()
        return sum("authorizing context" in line and f'"{of.ipv4}:' in line for line in lines)


@contextlib.asynccontextmanager
async def running_registry(  # noqa: PLR0913 - all but the first are named
    folder: Path,
    *,
    name: str,
    host: Host,
    authority: Authority | None = None,
    certificate_name: str = "",
    is_private: bool = False,
) -> AsyncIterator[Registry]:
    """One that answers. `authority` issues its certificate; without one it speaks plain HTTP.

    A private one knows TENANT and OTHER_TENANT, and gives anything to either.
    """
    folder.mkdir()
    http: dict[str, Table | str] = {}
    if authority:
        names = [certificate_name or name.partition(":")[0], host.ipv4]
        pair = authority.issue(name, name, addresses=names)
        http["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
    extra: dict[str, Table] = {"http": http}
    if is_private:
        logins = folder / "htpasswd"
        logins.write_text("".join(f"{each.username}:{_BCRYPT}\n" for each in (TENANT, OTHER_TENANT)))
        extra["auth"] = {"htpasswd": {"realm": "lab", "path": str(logins)}}
    port = name.partition(":")[2] or "443"
    storage, namespace = folder / "storage", host.namespace
    back = Origin(folder / "back", address=_BEHIND, namespace=namespace, is_private=False, storage=storage)
    address = f"{host.ipv4}:{port}"
    front = Origin(
        folder / "front", address=address, namespace=namespace, is_private=False, storage=storage, extra=extra
    )
    try:
        await back.start()
        await front.start()
        yield Registry(name, host, front, back, authority.certificate if authority else None)
    finally:
        await front.stop()
        await back.stop()
