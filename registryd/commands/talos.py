"""`registryd talos`."""

import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from registryd.commands.mirror_flags import endpoint_from, registries_of
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import RegistrySettings, Settings, SettingsError
from registryd.failures import CommandFailed
from registryd.node.errors import NodeError

_STDIN = Path("-")


@takes_settings("registry")
def talos(
    settings: Settings,
    machine_config: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    format: Literal["documents", "v1alpha1"] = "documents",  # noqa: A002 - it is the flag's name
    registries: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=True, show_default=False)] = (),
    endpoint: str | None = None,
) -> None:
    """Print the machine configuration with which a Talos node asks registryd first, and then its mirrors as before.

    Args:
        settings: The address of the agent's local registry.
        machine_config: The node's machine configuration; - is standard input. Without it: for a node without mirrors.
        format: documents: for Talos 1.12 and later. v1alpha1: a patch that every version accepts.
        registries: Registries to mirror, such as docker.io ghcr.io. The default is all registries.
        endpoint: URL at which containerd reaches the agent. The default is http:// and registry.listen.
    """
    # Here, because it needs the YAML library, which no other command does.
    from registryd.node.talos.advice import advice_for  # noqa: PLC0415
    from registryd.node.talos.documents import mirror_documents, v1alpha1_patch  # noqa: PLC0415
    from registryd.node.talos.machine_config import parse_machine_config  # noqa: PLC0415
    from registryd.node.talos.mirroring import mirrors_with_us  # noqa: PLC0415

    try:
        config = parse_machine_config(_configuration(machine_config))
    except NodeError as error:
        raise CommandFailed(str(error)) from error
    ours = (endpoint_from(endpoint, settings.registry.listen), *settings.registry.next_endpoints)
    mirrors = mirrors_with_us(config, ours, registries_of(registries))
    authorities = _authorities(settings.registry)
    advice = list(advice_for(config, mirrors, settings.registry.listen))
    if format == "v1alpha1":
        there = [name for name, mirror in config.mirrors.items() if not mirror.is_document]
        sys.stdout.write(v1alpha1_patch(mirrors, there=there, advice=advice, authorities=authorities))
    else:
        sys.stdout.write(mirror_documents(mirrors, advice=advice, authorities=authorities))


def _authorities(settings: RegistrySettings) -> dict[str, str]:
    """By the caches' hosts; the file is read here, because a Talos node has none of its own."""
    if settings.next_token_file:
        raise SettingsError("registry.next_token_file", "mirrors of Talos cannot carry a header; use a cache without")
    if settings.next_ca is None:
        return {}
    return dict.fromkeys((urlsplit(url).netloc for url in settings.next_endpoints), _read(settings.next_ca))


def _configuration(path: Path | None) -> str:
    """Nothing where something was named is refused: the output would lack every mirror that the node has."""
    text = _read(path) if path else ""
    if path and not text.strip():
        raise CommandFailed("the machine configuration is empty: did talosctl fail? Without one, give no argument")
    return text


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if path == _STDIN else path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path} cannot be read: {error}") from error
