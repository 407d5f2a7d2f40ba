"""`registryd release`, and the same as a part of `uninstall`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings
from registryd.content.source import StoreUnavailable
from registryd.failures import CommandFailed
from registryd.store.socket import is_containerd_at, socket_of


@takes_settings("store")
async def release(settings: Settings) -> None:
    """Free the layers and unpin the images that registryd keeps in containerd. Stop the agent first.

    The agent keeps layers (store.keep_layers). Pins come from `registryd prefetch --pin` and from images.keep.
    `registryd uninstall` does the same. Without either command, containerd frees the layers a day after the end of the
    agent, and the pins stay.
    """
    store = settings.store
    try:
        count, unpinned = await _release(socket_of(store), store.namespaces)
    except StoreUnavailable as error:
        raise CommandFailed(f"containerd does not answer; it frees the kept layers within a day: {error}") from error
    sys.stdout.write(f"{_told(count)}\n{_unpinned(unpinned)}\n")


def let_go(socket: Path, namespaces: Sequence[str]) -> list[str]:
    """What there is to say after it; nothing where no containerd is, or nothing was kept or pinned."""
    if not is_containerd_at(socket):
        return []
    try:
        count, unpinned = asyncio.run(_release(socket, namespaces))
    except StoreUnavailable as error:
        return [
            f"containerd does not answer; it frees the layers that an agent kept within a day, and pins stay: {error}"
        ]
    return [*([_told(count)] if count else []), *([_unpinned(unpinned)] if unpinned else [])]


async def _release(socket: Path, namespaces: Sequence[str]) -> tuple[int, int]:
    # Here, because an uninstall where there is no containerd need not wait for gRPC.
    from registryd.store.containerd.pins import release_pins  # noqa: PLC0415
    from registryd.store.containerd.releasing import release_layers  # noqa: PLC0415

    return await release_layers(socket, namespaces), await release_pins(socket)


def _unpinned(count: int) -> str:
    return f"{count} images are unpinned: the kubelet may remove them." if count else "No images were pinned."


def _told(count: int) -> str:
    return "The kept layers are freed: containerd may delete them." if count else "No layers were kept."
