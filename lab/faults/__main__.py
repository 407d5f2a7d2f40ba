"""Run faulty peers: `python -m lab.faults --content LAYOUT… --peer CHARACTER=PORT…`.

Each peer is asked at PORT and gives bytes at the port after it. Whenever one is about to give something, it says
`CHARACTER large` or `CHARACTER small` on standard output: a fault that nobody met proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lab.faults.characters import CHARACTERS, Character, Greeting
from lab.faults.content import CharacterStore, Layouts
from lab.faults.door import FaultyDoor, listening
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.naming_rules import NamingRules
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.faults", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - in a network namespace of its own
    parser.add_argument("--content", type=Path, action="append", default=[], metavar="LAYOUT")
    parser.add_argument("--peer", action="append", default=[], metavar="CHARACTER=PORT")
    options = parser.parse_args(arguments)
    async with AsyncExitStack() as stack:
        for peer in options.peer:
            name, _, port = peer.partition("=")
            await _start(stack, CHARACTERS[name], Layouts(tuple(options.content)), Address(options.host, int(port)))
        _tell("ready")
        await asyncio.Event().wait()


async def _start(stack: AsyncExitStack, character: Character, layouts: Layouts, address: Address) -> None:
    entitlement = Entitlement(NamingRules(AuthorizationSettings()), lambda _: False)
    store = CharacterStore(character, layouts, tell=_tell)
    door = Address(address.host, address.port + 1)
    if character.asked is Greeting.IGNORED:
        await stack.enter_async_context(listening(None, address))
    elif character.asked is Greeting.ANSWERED:
        service = ClusterService(Node(NodeId.random(), door.port), EntitledStore(store, entitlement))
        await stack.enter_async_context(serve_peers(address, service, credentials=NoCredentials()))
    if character.door is Greeting.IGNORED:
        await stack.enter_async_context(listening(None, door))
    elif character.door is Greeting.ANSWERED:
        await stack.enter_async_context(listening(FaultyDoor(character, store, layouts), door))


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
