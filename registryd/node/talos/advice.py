"""Further needs of a Talos node besides mirrors, as far as its configuration shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.talos.machine_config import MachineConfig, TalosMirror

# Talos 1.9 and later; `localEnabled` switches it on.
_IMAGE_CACHE = Address("127.0.0.1", 3172)

_FIREWALL = """\
This node blocks what no rule allows. Peers need 3173 (find) and 3174 (bytes); put your nodes' network in:
  apiVersion: v1alpha1
  kind: NetworkRuleConfig
  name: registryd
  portSelector:
    ports: [3173, 3174]
    protocol: tcp
  ingress:
    - subnet: 10.0.0.0/8"""

_LAYERS = """\
Talos discards layers once they are unpacked. registryd keeps those that it serves by leases, within its budget; to have
containerd keep them all, set discard_unpacked_layers = false: from 1.14 on by a document
  apiVersion: v1alpha1
  kind: CRICustomizationConfig
  name: registryd
  content: |
    [plugins."io.containerd.cri.v1.images"]
      discard_unpacked_layers = false
before that by machine.files, path /etc/cri/conf.d/20-customization.part, op create, and a reboot."""

_NO_HEADER = """\
Mirrors of Talos cannot carry a header: run the agent without registry.token_file."""


def advice_for(config: MachineConfig, mirrors: tuple[TalosMirror, ...], listen: Address) -> Iterator[str]:
    """A paragraph for each thing to know or to do."""
    if config.has_image_cache and listen.port == _IMAGE_CACHE.port:
        yield (
            f"Talos' own image cache listens on {_IMAGE_CACHE} on this node: let registryd listen elsewhere\n"
            '(registry.listen = "127.0.0.1:3182") and print this again with --registry.listen 127.0.0.1:3182.'
        )
    if config.has_firewall:
        yield _FIREWALL
    for mirror in mirrors:
        if mirror.skip_fallback and len(mirror.endpoints) == 1:
            yield f"{mirror.name} has skipFallback and no other endpoint: only what the cluster has can be pulled."
    if "docker.io" in config.configured and "docker.io" not in config.mirrors:
        yield (
            "docker.io has settings of its own (TLS or credentials), and Talos looks them up by the endpoint's host:\n"
            "give them to registry-1.docker.io as well."
        )
    yield _LAYERS
    yield _NO_HEADER
