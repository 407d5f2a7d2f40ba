"""Files that a cache needs for its upstreams, looked at when it starts: a slip in a name is found out before a pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.plain_file import read_plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.config.cache import UpstreamsSettings

# As much as any of them may have: a bundle of authorities.
_MOST_BYTES: Final = 4 << 20
_OF_A_REGISTRY: Final = ("password_file", "ca", "client_cert", "client_key")


def unreadable_files(upstreams: UpstreamsSettings) -> Iterator[str]:
    """A message for each unreadable file. The agent goes on: the file may come, and only some registries need it."""
    if problem := _problem(upstreams.docker_config):
        yield f"upstreams.docker_config: {problem}; until it can be read, only registries with a username are asked"
    for name, table in upstreams.registries.items():
        for key in _OF_A_REGISTRY:
            if problem := _problem(getattr(table, key)):
                yield f'upstreams.registries."{name}".{key}: {problem}; until then its pulls fail'


def _problem(path: Path | None) -> str:
    """Empty: none, or no such file is named."""
    try:
        if path:
            read_plain(path, most_bytes=_MOST_BYTES)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""
