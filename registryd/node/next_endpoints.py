"""Caches that containerd asks after this node's agent, as the settings name them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from registryd.identity.errors import SecretInvalid
from registryd.identity.lines import read_lines
from registryd.identity.node_token import TOKEN_HEADER
from registryd.node.errors import CannotUse
from registryd.node.hosts_entry import MirrorEntry

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.config.agent import RegistrySettings
    from registryd.node.host_root import HostRoot

_TOKEN: Final = "put the cache's own token (its cache.token_file) there"  # noqa: S105 - what to do, not a token


def next_entries(settings: RegistrySettings, root: HostRoot, *, can_resolve: bool = True) -> tuple[MirrorEntry, ...]:
    """Their hosts for hosts.toml files of the node below `root`. Raises CannotUse."""
    if not settings.next_endpoints:
        return ()
    token = _token(settings.next_token_file) if settings.next_token_file else ""
    headers = ((TOKEN_HEADER, token),) if token else ()
    authorities = _authorities(settings.next_ca, root) if settings.next_ca else ""
    return tuple(
        MirrorEntry(url.rstrip("/"), can_resolve, headers, is_next=True, authorities=authorities)
        for url in dict.fromkeys(settings.next_endpoints)
    )


def _token(file: Path) -> str:
    try:
        return read_lines(file, remedy=_TOKEN)[0]
    except SecretInvalid as error:
        raise CannotUse(f"registry.next_token_file: {error}") from error


def _authorities(path: Path, root: HostRoot) -> str:
    """The path, after a look into the file: a file that containerd cannot read fails every pull of every image."""
    path = path.absolute()
    try:
        ssl.create_default_context(cafile=root.locate(path))
    except OSError as error:  # ssl.SSLError is one
        raise CannotUse(f"registry.next_ca: {path} cannot be used: {error.strerror or error}") from error
    return str(path)
