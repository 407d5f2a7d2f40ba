"""The set-up by the agent itself, at its start: the node that it runs on, with its own address and token."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from registryd.node.hosts_entry import MirrorEntry, endpoint_of
from registryd.node.intent import Intent
from registryd.node.next_endpoints import next_entries
from registryd.node.setup import NodeSetup

if TYPE_CHECKING:
    from registryd.node.setup import Outcome
    from registryd.notation import Address
    from registryd.settings import RegistrySettings

_log = logging.getLogger(__name__)


async def configure_containerd(
    settings: RegistrySettings,
    listen: Address,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    setup: NodeSetup | None = None,
) -> Outcome:
    """Make this node's containerd ask the registry at `listen` first, with these headers; say what was changed.

    After it come the caches that the settings name. Nothing is restarted unless the set-up has a command for it; a
    warning says so when it is needed. Raises NodeError or SecretInvalid, and then the node is as it was.
    """
    setup = setup or NodeSetup()
    intent = Intent(
        MirrorEntry(endpoint_of(listen), headers=headers),
        next_entries(settings, setup.root),
        owner=(os.geteuid(), os.getegid()),
    )
    outcome = await asyncio.to_thread(setup.install, intent)
    for change in outcome.plan.changes:
        _log.info("%s: %s", change.path, change.why)
    for note in outcome.plan.notes:
        _log.warning("%s", note)
    if outcome.restart_due:
        _log.warning("containerd must be restarted: it reads %s only when it starts", outcome.facts.config)
    return outcome
