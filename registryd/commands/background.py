"""`registryd background`: pulls of others, ahead of need, that this node's agent is to put behind pulls of pods."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from registryd.commands.bringing import tell_background
from registryd.commands.image_lists import LIST, admin_address, read_lists
from registryd.config.agent import ADMIN_ADDRESS
from registryd.content.background import LONGEST_LEASE

_AGENT = "host:port of the agent's admin port."
_END = "Nobody pulls them ahead of need any more."


async def background(
    *,
    images: Annotated[list[str], Parameter(help=LIST, negative=(), allow_leading_hyphen=True)],
    end: Annotated[bool, Parameter(help=_END, negative=())] = False,
    agent: Annotated[str, Parameter(help=_AGENT)] = str(ADMIN_ADDRESS),
) -> None:
    """One line of what became of it. The pulls go on whatever the agent says, so it is no failure."""
    address = admin_address(agent)
    repositories = sorted({image.repository for image in read_lists(images)}, key=str)
    for number, repository in enumerate(repositories):
        problem = await tell_background(address, repository, 0 if end else LONGEST_LEASE)
        if problem:
            told = f"{number} of {len(repositories)} repositories"
            sys.stdout.write(f"the agent was told of {told}, and then not: {problem}\n")
            return
    count = f"{len(repositories)} repositor{'y' if len(repositories) == 1 else 'ies'}"
    sys.stdout.write(f"{count}: pulls are {'as others' if end else 'in the background'}\n")
