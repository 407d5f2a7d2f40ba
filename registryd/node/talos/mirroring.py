"""Our endpoints first for every registry, and everything behind them as before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from registryd.node.talos.machine_config import EVERY, MachineConfig, TalosEndpoint, TalosMirror

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registryd.oci.reference import Registry


def mirrors_with_us(
    config: MachineConfig, urls: Sequence[str], registries: Iterable[Registry] = ()
) -> tuple[TalosMirror, ...]:
    """Every mirror as it shall be, in full: the agent, then caches. `registries` limits them, none means all."""
    caches = {urlsplit(url).netloc for url in urls}
    configured = (name for name in config.configured if name not in caches)
    names = [registry.written for registry in registries] or [*config.mirrors, *configured, EVERY]
    return tuple(_with_us(_today(config, name), urls) for name in dict.fromkeys(names))


def _today(config: MachineConfig, name: str) -> TalosMirror:
    """The endpoints of a registry now. Talos makes one folder for each registry, and containerd merges no folders."""
    if name in config.mirrors:
        return config.mirrors[name]
    if name in config.configured:
        # Its folder has the registry itself as its only host, with its certificates; an endpoint keeps both.
        return TalosMirror(name, (TalosEndpoint(upstream_of(name)),))
    return replace(config.mirrors.get(EVERY, TalosMirror(EVERY)), name=name, is_document=False)


def upstream_of(registry: str) -> str:
    return "https://registry-1.docker.io" if registry == "docker.io" else f"https://{registry}"


def _with_us(mirror: TalosMirror, urls: Sequence[str]) -> TalosMirror:
    ours = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
    others = (each for each in mirror.endpoints if each.url.rstrip("/").removesuffix("/v2") not in ours)
    return replace(mirror, endpoints=(*map(TalosEndpoint, ours), *others))
