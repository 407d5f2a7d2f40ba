"""The single flag: an agent that puts itself into its node's containerd configuration, and keeps itself there."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff
from registryd.failures import CommandFailed, SettingsError
from registryd.identity.errors import IdentityError
from registryd.identity.node_token import TOKEN_HEADER, ensure_token, read_token
from registryd.identity.watch import looks_at

if TYPE_CHECKING:
    from registryd.aio.scope import Scope
    from registryd.config.agent import RegistrySettings, Settings
    from registryd.node.upkeep import Upkeep
    from registryd.notation import Address

# Without being told: for file systems that tell nothing. Looking takes a tenth of a second of a processor.
_LOOK_EVERY_SECONDS: Final = 600.0
# Between looks that had to change something: another program may insist on its own version of a file.
_INSISTING: Final = Backoff(0.5, 300.0)


def prepare_token(settings: RegistrySettings) -> None:
    """Make the node's token if there is to be one. Raises SettingsError."""
    if settings.token_file:
        try:
            ensure_token(settings.token_file)
        except IdentityError as error:
            raise SettingsError("registry.token_file", str(error)) from error


async def set_up_node(settings: Settings, listen: Address, scope: Scope) -> None:
    """Make containerd ask the open door, and see to it that it stays so while the scope lasts.

    A node that cannot be set up is no reason to run no agent: it can serve others. Raises CommandFailed for settings
    that are wrong.
    """
    upkeep = _upkeep_of(settings, listen)
    await asyncio.to_thread(upkeep.look)
    scope.serve(lambda: keep_up(upkeep), name="keep containerd set up")


async def keep_up(upkeep: Upkeep) -> None:
    """Look at the node whenever its files or its containerd may have changed, until cancelled."""
    insisted, (_, paths) = 0, await asyncio.to_thread(upkeep.look)
    while not upkeep.is_over:
        async with aclosing(looks_at(sorted(paths), every=_LOOK_EVERY_SECONDS)) as looks:
            async for _ in looks:  # at once: what happened before it was watched
                watched = paths
                has_changed, paths = await asyncio.to_thread(upkeep.look)
                insisted = insisted + 1 if has_changed else 0
                if has_changed:
                    await asyncio.sleep(_INSISTING.delay(insisted))
                if watched != paths or upkeep.is_over:
                    break
    await asyncio.Event().wait()


def _upkeep_of(settings: Settings, listen: Address) -> Upkeep:
    # Imported here, so that only an agent with this setting pays for it.
    from registryd.node.errors import NodeError  # noqa: PLC0415
    from registryd.node.facts import Containerd  # noqa: PLC0415
    from registryd.node.hosts_entry import MirrorEntry, endpoint_of  # noqa: PLC0415
    from registryd.node.intent import Intent  # noqa: PLC0415
    from registryd.node.next_endpoints import next_entries  # noqa: PLC0415
    from registryd.node.setup import NodeSetup  # noqa: PLC0415
    from registryd.node.upkeep import Upkeep  # noqa: PLC0415

    token_file = settings.registry.token_file
    hints = Containerd(socket=settings.store.containerd_socket)
    try:
        headers = ((TOKEN_HEADER, read_token(token_file)),) if token_file else ()
        entries = next_entries(settings.registry, NodeSetup().root)
    except (NodeError, IdentityError) as error:
        raise CommandFailed(f"agent.configure_containerd: {error}") from error
    intent = Intent(MirrorEntry(endpoint_of(listen), headers=headers), entries, owner=(os.geteuid(), os.getegid()))
    return Upkeep(intent, lambda: NodeSetup(containerd=hints))
