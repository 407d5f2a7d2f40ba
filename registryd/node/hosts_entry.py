"""registryd's entry in a hosts.toml: its `[host]` table, and hosts that keep the folder's meaning of before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.node.toml_sections import quoted

if TYPE_CHECKING:
    from registryd.notation import Address

# The line by which people, and an uninstall without its record, know our entry.
MARK = "# registryd: this node's mirror, asked first. `registryd uninstall` takes it out."
NEXT_MARK = "# registryd: a cache, asked next. `registryd uninstall` takes it out."
MARKS = frozenset({MARK, NEXT_MARK})
# A dead agent must not hold up every request for containerd's 30 s. Known to 2.0.7 and 2.1, ignored by the others.
_DIAL_TIMEOUT = "1s"
# A cache is on another machine: a packet may be lost, which is sent again after one second.
_NEXT_DIAL_TIMEOUT = "3s"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to recognise, not to listen on


def endpoint_of(listen: Address) -> str:
    """The URL under which this node itself reaches what listens there."""
    host = _EVERYWHERE.get(listen.host, listen.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listen.port}"


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """An endpoint of ours as a host of hosts.toml: this node's agent, or a cache that is asked next.

    On an http endpoint never `ca`, `client` or `skip_verify`: with one of them 1.7 and later try TLS on it first.

    Args:
        url: `http://127.0.0.1:3172`.
        can_resolve: Whether containerd may ask it what a tag is; content by digest it may always ask for.
        headers: Sent with every request to it, and to no other host.
        is_next: A cache; ours otherwise.
        authorities: A file of the node that says whom to trust, for https.
    """

    url: str
    can_resolve: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    is_next: bool = False
    authorities: str = ""

    def to_toml(self, newline: str = "\n") -> str:
        capabilities = '"pull", "resolve"' if self.can_resolve else '"pull"'
        lines = [
            NEXT_MARK if self.is_next else MARK,
            f"[host.{quoted(self.url)}]",
            f"  capabilities = [{capabilities}]",
            f"  dial_timeout = {quoted(_NEXT_DIAL_TIMEOUT if self.is_next else _DIAL_TIMEOUT)}",
        ]
        if self.authorities:
            lines.append(f"  ca = {quoted(self.authorities)}")
        if self.headers:
            lines.append(f"  [host.{quoted(self.url)}.header]")
            lines += [f"    {quoted(name)} = {quoted(value)}" for name, value in self.headers]
        return "".join(line + newline for line in lines)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of a folder in Docker's style that containerd uses: `*.crt` to trust, `*.cert` and `*.key` to show."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()

    def to_toml(self) -> str:
        """As keys: at the root of a hosts.toml they are the registry's own, in a table that host's."""
        lines = []
        if self.authorities:
            lines.append(f"ca = [{', '.join(map(quoted, self.authorities))}]\n")
        if self.clients:
            pairs = (f"[{quoted(certificate)}, {quoted(key)}]" for certificate, key in self.clients)
            lines.append(f"client = [{', '.join(pairs)}]\n")
        return "".join(lines)
