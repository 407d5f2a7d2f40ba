"""Mirrors as text for a machine configuration, with what else the node needs as comments."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from registryd.node.talos.machine_config import TalosMirror

_REPLACE = """\
Talos appends the lists of a patch to those that are there, which would put registryd last. So these, which your
configuration has already, must be replaced: edit them, or apply this patch first and the rest after it."""


def mirror_documents(
    mirrors: Sequence[TalosMirror], *, advice: Sequence[str], authorities: Mapping[str, str] | None = None
) -> str:
    """RegistryMirrorConfig documents, for Talos 1.12 and later; `authorities` (PEM) are those of endpoints' hosts."""
    there = [{**_head(mirror), "$patch": "delete"} for mirror in mirrors if mirror.is_document]
    documents = [{**_head(mirror), "endpoints": _endpoints(mirror), **_fallback(mirror)} for mirror in mirrors]
    documents += [
        {"apiVersion": "v1alpha1", "kind": "RegistryTLSConfig", "name": host, "ca": pem}
        for host, pem in (authorities or {}).items()
    ]
    return _comments([*advice, *_replacing(there)]) + _dump(documents)


def v1alpha1_patch(
    mirrors: Sequence[TalosMirror],
    *,
    there: Iterable[str],
    advice: Sequence[str],
    authorities: Mapping[str, str] | None = None,
) -> str:
    """One v1alpha1 patch, for Talos before 1.12; `there` are the names that the configuration has already."""
    table = {mirror.name: _v1alpha1(mirror) for mirror in mirrors}
    gone = {name: {"$patch": "delete"} for name in there if name in table}
    patches = [_registries(gone)] if gone else []
    return _comments([*advice, *_shadowed(mirrors), *_replacing(patches)]) + _dump([_registries(table, authorities)])


def _shadowed(mirrors: Sequence[TalosMirror]) -> list[str]:
    names = ", ".join(mirror.name for mirror in mirrors if mirror.is_document)
    return [f"RegistryMirrorConfig documents go before these: use the documents' form for {names}."] if names else []


def _registries(mirrors: dict[str, Any], authorities: Mapping[str, str] | None = None) -> dict[str, Any]:
    tls = {host: {"tls": {"ca": b64encode(pem.encode()).decode()}} for host, pem in (authorities or {}).items()}
    return {"machine": {"registries": {"mirrors": mirrors} | ({"config": tls} if tls else {})}}


def _head(mirror: TalosMirror) -> dict[str, Any]:
    return {"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": mirror.name}


def _endpoints(mirror: TalosMirror) -> list[dict[str, Any]]:
    return [{"url": each.url} | ({"overridePath": True} if each.override_path else {}) for each in mirror.endpoints]


def _fallback(mirror: TalosMirror) -> dict[str, Any]:
    return {"skipFallback": True} if mirror.skip_fallback else {}


def _v1alpha1(mirror: TalosMirror) -> dict[str, Any]:
    """The v1alpha1 document, in which overridePath is for all endpoints. With /v2 in its path, ours is right anyway."""
    ours, *others = mirror.endpoints
    override = {"overridePath": True} if any(each.override_path for each in others) else {}
    theirs = [_with_path(each.url) if override and not each.override_path else each.url for each in others]
    return {"endpoints": [_with_path(ours.url), *theirs], **override, **_fallback(mirror)}


def _with_path(url: str) -> str:
    """The endpoint with the path that containerd would add, for a list to which containerd adds none."""
    stripped = url.rstrip("/")
    return stripped if stripped.endswith("/v2") else f"{stripped}/v2"


def _replacing(documents: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{_REPLACE}\n{_dump(documents)}"] if documents else []


def _comments(paragraphs: Iterable[str]) -> str:
    texts = ["\n".join(f"# {line}".rstrip() for line in each.splitlines()) for each in paragraphs]
    return "".join(f"{text}\n#\n" for text in texts)


def _dump(documents: Sequence[dict[str, Any]]) -> str:
    return "---\n".join(yaml.safe_dump(each, sort_keys=False, default_flow_style=False) for each in documents)
