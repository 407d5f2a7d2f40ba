"""A machine configuration's settings on registries, in the old form and the new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from registryd.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

EVERY = "*"
_WITH_FOLDERS_OF_THEIR_OWN = frozenset({"RegistryTLSConfig", "RegistryAuthConfig"})


class MachineConfigInvalid(NodeError):
    """Not a machine configuration that can be understood."""


@dataclass(frozen=True, slots=True)
class TalosEndpoint:
    url: str
    override_path: bool = False


@dataclass(frozen=True, slots=True)
class TalosMirror:
    """Where one registry's images come from; `is_document`: a RegistryMirrorConfig says so."""

    name: str
    endpoints: tuple[TalosEndpoint, ...] = ()
    skip_fallback: bool = False
    is_document: bool = False


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """The part that matters here.

    Args:
        mirrors: By name; a document goes before the v1alpha1 entry of its name, wholly.
        configured: Registries with TLS or credentials of their own: Talos gives each a folder, which hides `*`.
        has_image_cache: Whether Talos' own image cache listens on 127.0.0.1:3172.
        has_firewall: Whether what no rule allows is blocked.
    """

    mirrors: dict[str, TalosMirror]
    configured: tuple[str, ...] = ()
    has_image_cache: bool = False
    has_firewall: bool = False


def parse_machine_config(text: str) -> MachineConfig:
    """Read a file of one or more documents, or what `talosctl get machineconfig -o yaml` prints.

    Raises MachineConfigInvalid.
    """
    try:
        documents = list(_documents(text))
        old = [mirror for document in documents for mirror in _v1alpha1_mirrors(document)]
        new = [_mirror_document(each) for each in documents if each.get("kind") == "RegistryMirrorConfig"]
        names = (name for document in documents for name in _configured(document))
        return MachineConfig(
            {mirror.name: mirror for mirror in (*old, *new)},
            tuple(dict.fromkeys(name for name in names if name != EVERY)),
            any(map(_has_image_cache, documents)),
            any(map(_blocks, documents)),
        )
    except yaml.YAMLError as error:
        raise MachineConfigInvalid(f"the machine configuration is not YAML: {' '.join(str(error).split())}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise MachineConfigInvalid(f"the machine configuration is not one of Talos: {error!r}") from error


def _documents(text: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(text):
        if document is None:
            continue
        if not isinstance(document, dict):
            raise MachineConfigInvalid("the machine configuration has a document that is not a table")
        spec = document.get("spec") if "metadata" in document else None  # talosctl wraps it into a resource
        if isinstance(spec, str):
            yield from _documents(spec)
        elif isinstance(spec, dict):
            yield spec
        else:
            yield document


def _registries(document: dict[str, Any]) -> dict[str, Any]:
    machine = document.get("machine") or {}
    return machine.get("registries") or {}


def _v1alpha1_mirrors(document: dict[str, Any]) -> Iterator[TalosMirror]:
    for name, mirror in (_registries(document).get("mirrors") or {}).items():
        settings = mirror or {}
        override = bool(settings.get("overridePath"))
        endpoints = tuple(TalosEndpoint(url, override) for url in _list_of(str, settings.get("endpoints")))
        yield TalosMirror(name, endpoints, bool(settings.get("skipFallback")))


def _mirror_document(document: dict[str, Any]) -> TalosMirror:
    listed = _list_of(dict, document.get("endpoints"))
    endpoints = tuple(TalosEndpoint(each["url"], bool(each.get("overridePath"))) for each in listed)
    return TalosMirror(document["name"], endpoints, bool(document.get("skipFallback")), is_document=True)


def _list_of(kind: type[T], value: object) -> list[T]:
    """The list. A text is no list, although Python can iterate over it letter by letter."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise TypeError(f"endpoints: {value!r}")
    return value


def _configured(document: dict[str, Any]) -> Iterator[str]:
    yield from _registries(document).get("config") or {}
    if document.get("kind") in _WITH_FOLDERS_OF_THEIR_OWN:
        yield document["name"]


def _blocks(document: dict[str, Any]) -> bool:
    return document.get("kind") == "NetworkDefaultActionConfig" and document.get("ingress") == "block"


def _has_image_cache(document: dict[str, Any]) -> bool:
    features = (document.get("machine") or {}).get("features") or {}
    old = (features.get("imageCache") or {}).get("localEnabled")
    new = document.get("kind") == "ImageCacheConfig" and (document.get("local") or {}).get("enabled")
    return bool(old or new)
