"""Where this node's containerd asks for a registry: the hosts.toml files below its `config_path`.

So that the question "may anyone pull this?" goes the way that the pull would go: through the same mirrors, with the
same authorities, to the same server.
"""

from __future__ import annotations

import logging
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from registryd.plain_file import read_plain
from registryd.upstream.endpoint import Endpoint, default_endpoints
from registryd.upstream.trust import TlsTrust

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from registryd.oci.reference import Registry
    from registryd.upstream.endpoint import Site

_log = logging.getLogger(__name__)

# A host is asked to resolve when it may do both (containerd's docker.HostCapabilities); without the key it may.
_RESOLVES: Final = {"pull", "resolve"}

# A mirror takes some 100 bytes. tomllib took 1.2 s for 220 KB on a busy machine, and all requests of the agent wait
# meanwhile.
_MOST_BYTES: Final = 64 * 1024


class ContainerdHosts:
    """An `EndpointsOf` by hosts.toml, read anew for each question, as containerd does for each pull."""

    def __init__(self, roots: Sequence[Path], *, ourselves: frozenset[Site]) -> None:
        """`roots` are searched in this order. `ourselves`: where this agent listens; that would be asking ourselves."""
        self._roots = tuple(roots)
        self._ourselves = ourselves

    def follow(self, roots: Sequence[Path]) -> None:
        """Search these from now on."""
        self._roots = tuple(roots)

    def __call__(self, registry: Registry) -> Sequence[Endpoint]:
        try:
            configured = [one for one in self._configured(registry) if one.site not in self._ourselves]
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            # containerd ignores a file that it cannot read, and goes straight to the registry.
            _log.debug("hosts.toml of %s is passed over: %s", registry, error)
            configured = []
        return configured or default_endpoints(registry)

    def _configured(self, registry: Registry) -> Iterator[Endpoint]:
        places = (root / name for root in self._roots for name in _folder_names(registry))
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None or not (folder / "hosts.toml").is_file():
            return
        document = tomllib.loads(read_plain(folder / "hosts.toml", most_bytes=_MOST_BYTES).decode())
        for url, host in document.get("host", {}).items():
            if set(host.get("capabilities", _RESOLVES)) >= _RESOLVES:
                yield _endpoint(url, host, folder)
        if server := document.get("server"):
            yield _endpoint(server, document, folder)
        else:
            yield from default_endpoints(registry)


def _folder_names(registry: Registry) -> tuple[str, ...]:
    """In the order in which containerd looks; the first that exists counts (its hostconfig `hostDirectory`)."""
    name = registry.written
    host, _, port = name.rpartition(":")
    return (*([f"{host}_{port}_"] if host and port.isdigit() else []), name, "_default")


def _endpoint(url: str, host: dict[str, Any], folder: Path) -> Endpoint:
    endpoint = Endpoint.parse(url, override_path=host.get("override_path") is True)
    return replace(endpoint, trust=_trust(host, folder), headers=tuple(_headers(host.get("header", {}))))


def _trust(host: dict[str, Any], folder: Path) -> TlsTrust:
    authorities = host.get("ca", [])
    certificate, key = _client(host.get("client"))
    return TlsTrust(
        ca_files=tuple(folder / name for name in ([authorities] if isinstance(authorities, str) else authorities)),
        client_certificate=folder / certificate if certificate else None,
        client_key=folder / key if key else None,
        verify=host.get("skip_verify") is not True,
    )


def _client(client: Any) -> tuple[str, str]:
    """Certificate and key of the first client entry; empty without one."""
    first = client[0] if isinstance(client, list) and client else client
    if isinstance(first, list):
        return (first[0], first[1]) if first else ("", "")
    return first or "", first or ""


def _headers(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, values in table.items():
        yield from ((name, value) for value in ([values] if isinstance(values, str) else values))
