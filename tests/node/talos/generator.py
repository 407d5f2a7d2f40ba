"""The hosts.toml files that Talos makes of a machine configuration, by the rules of its own generator.

`/etc/cri/conf.d/hosts/<folder>/hosts.toml`: `*` is `_default`, `host:port` is `host_port_`; endpoints in order, pull
and resolve; TLS settings are looked up by the endpoint's host; skipFallback makes the last endpoint the server; a
registry with settings but without a mirror gets a folder with itself as the only host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

_HUB = "registry-1.docker.io"


@dataclass(frozen=True)
class _Mirror:
    endpoints: list[tuple[str, bool]]
    skips_fallback: bool


@dataclass
class Talos:
    """What a configuration says after patches; documents go before v1alpha1 entries of their name."""

    mirrors: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def apply(self, text: str) -> Talos:
        """Merge as a strategic merge patch: lists are appended to, `$patch: delete` removes."""
        for document in yaml.safe_load_all(text):
            if document and document.get("kind") == "RegistryMirrorConfig":
                _merge(self.documents, document["name"], document)
            elif document and document.get("kind") == "RegistryTLSConfig":
                self.settings[document["name"]] = {"tls": document}
            elif document:
                registries = document["machine"]["registries"]
                for name, mirror in (registries.get("mirrors") or {}).items():
                    _merge(self.mirrors, name, mirror)
                self.settings |= registries.get("config") or {}
        return self

    def hosts(self) -> dict[str, dict[str, Any]]:
        """By folder: `host`, in order, and `server`."""
        old = {name: _of_v1alpha1(mirror) for name, mirror in self.mirrors.items()}
        new = {name: _of_document(document) for name, document in self.documents.items()}
        folders = {_folder(name): self._file(mirror) for name, mirror in {**old, **new}.items()}
        for name in self.settings:
            upstream = f"https://{_HUB if name == 'docker.io' else name}"
            folders.setdefault(_folder(name), {"host": {upstream: self._tls(name)}, "server": ""})
        return folders

    def _file(self, mirror: _Mirror) -> dict[str, Any]:
        hosts = {
            url: {"capabilities": ["pull", "resolve"], "override_path": override} | self._tls(urlsplit(url).netloc)
            for url, override in mirror.endpoints
        }
        return {"host": hosts, "server": mirror.endpoints[-1][0] if mirror.skips_fallback else ""}

    def _tls(self, host: str) -> dict[str, Any]:
        tls = self.settings.get(host, {}).get("tls") or {}
        return {"ca": f"{host}-ca.crt"} if tls.get("ca") else {}


def _merge(table: dict[str, dict[str, Any]], name: str, patch: dict[str, Any]) -> None:
    if patch.get("$patch") == "delete":
        table.pop(name, None)
        return
    there = table.setdefault(name, {})
    endpoints = [*there.get("endpoints", []), *patch.get("endpoints", [])]
    there.update({**patch, "endpoints": endpoints})


def _of_v1alpha1(mirror: dict[str, Any]) -> _Mirror:
    override = bool(mirror.get("overridePath"))
    return _Mirror([(url, override) for url in mirror["endpoints"]], bool(mirror.get("skipFallback")))


def _of_document(document: dict[str, Any]) -> _Mirror:
    endpoints = [(each["url"], bool(each.get("overridePath"))) for each in document["endpoints"]]
    return _Mirror(endpoints, bool(document.get("skipFallback")))


def _folder(name: str) -> str:
    if name == "*":
        return "_default"
    host, colon, port = name.rpartition(":")
    return f"{host}_{port}_" if colon else name


def paths_of(hosts: dict[str, dict[str, Any]]) -> list[str]:
    """What containerd asks for, by its rule: /v2 is appended unless it is there or the path is overridden."""
    return [_path(url, is_overridden=host.get("override_path", False)) for url, host in hosts.items()]


def _path(url: str, *, is_overridden: bool) -> str:
    stripped = url.rstrip("/")
    return stripped if is_overridden or stripped.endswith("/v2") else f"{stripped}/v2"
