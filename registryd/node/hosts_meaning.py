"""Whether containerd heeds a hosts.toml at all: it ignores, in silence, one that it cannot read.

The rules are `parseHostsFile` and `parseHostConfig` of containerd's remotes/docker/config.
"""

from __future__ import annotations

import tomllib
from typing import Any


def ignored_because(data: bytes) -> str | None:
    """Why every containerd ignores the file; None when it does not. Names the line where there is one."""
    try:
        document = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        return f"it is not TOML: {error}"
    if not isinstance(document.get("server", ""), str):
        return "server is not a text"
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or not all(isinstance(host, dict) for host in hosts.values()):
        return "host is not a table of tables"
    tables = {"": document} | {f'host."{url}".': host for url, host in hosts.items()}
    wrong = (f"{table}{key}" for table, settings in tables.items() for key in settings if not _fits(key, settings[key]))
    return next((f"{setting} has the wrong type" for setting in wrong), None)


def _fits(key: str, value: Any) -> bool:
    match key:
        case "override_path" | "skip_verify":
            return isinstance(value, bool)
        case "capabilities":
            return _is_texts(value)
        case "ca":
            return isinstance(value, str) or _is_texts(value)
        case "client":
            return isinstance(value, str) or (isinstance(value, list) and all(map(_is_client, value)))
        case "header":
            return isinstance(value, dict) and all(isinstance(v, str) or _is_texts(v) for v in value.values())
        case _:
            return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_client(value: Any) -> bool:
    return isinstance(value, str) or (_is_texts(value) and len(value) == 2)  # noqa: PLR2004 - certificate and key
