"""Our endpoint first for every registry, and everything behind it as before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.node.talos.machine_config import EVERY, Endpoint, MachineConfig, Mirror

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.oci.reference import Registry


def mirrors_with_us(config: MachineConfig, url: str, registries: Iterable[Registry] = ()) -> tuple[Mirror, ...]:
    """Every mirror as it shall be, in full; `registries` limits them, none means all."""
    names = [registry.host for registry in registries] or [*config.mirrors, *config.configured, EVERY]
    return tuple(_with_us(_today(config, name), url) for name in dict.fromkeys(names))


def _today(config: MachineConfig, name: str) -> Mirror:
    """What counts for a registry now. Talos makes one folder for each, and containerd merges none of them."""
    if name in config.mirrors:
        return config.mirrors[name]
    if name in config.configured:
        # Its folder has the registry itself as its only host, with its certificates; an endpoint keeps both.
        return Mirror(name, (Endpoint(upstream_of(name)),))
    return replace(config.mirrors.get(EVERY, Mirror(EVERY)), name=name, is_document=False)


def upstream_of(registry: str) -> str:
    return "https://registry-1.docker.io" if registry == "docker.io" else f"https://{registry}"


def _with_us(mirror: Mirror, url: str) -> Mirror:
    others = tuple(endpoint for endpoint in mirror.endpoints if not _is_ours(endpoint.url, url))
    return replace(mirror, endpoints=(Endpoint(url), *others))


def _is_ours(endpoint: str, url: str) -> bool:
    return endpoint.rstrip("/").removesuffix("/v2") == url.rstrip("/")
