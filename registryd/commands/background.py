"""`registryd background`: pulls of others, ahead of need, that this node's agent is to put behind pulls of pods."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from registryd.commands.bringing import tell_background, tell_end
from registryd.commands.image_lists import LIST, admin_address, read_lists
from registryd.config.agent import ADMIN_ADDRESS
from registryd.content.background import LONGEST_LEASE, Announced
from registryd.notation import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.inventory.lists import ImageName
    from registryd.notation import Address

_AGENT = "host:port of the agent's admin port."
_LIST_NAME = "Name of the list, where a node gets several. Each list ends only what it has told itself."
_END = "Nobody pulls them ahead of need any more."


async def background(
    *,
    images: Annotated[list[str], Parameter(help=LIST, negative=(), allow_leading_hyphen=True)],
    list_: Annotated[str, Parameter(name="--list", help=_LIST_NAME)] = "",
    end: Annotated[bool, Parameter(help=_END, negative=())] = False,
    agent: Annotated[str, Parameter(help=_AGENT)] = str(ADMIN_ADDRESS),
) -> None:
    """One line of what became of it. The pulls go on whatever the agent says, so it is no failure."""
    address = admin_address(agent)
    by, wanted = f"list {list_}", read_lists(images)
    count = counted(len(wanted), "image")
    problem = await tell_end(address, by)  # at the beginning, too: an earlier form of the list may have had more
    if not end:
        problem = await _tell_all(address, wanted, by)
    if problem:
        sys.stdout.write(f"{problem}\n")
        return
    sys.stdout.write(f"{count}: pulls are {'as others' if end else 'in the background'}\n")


async def _tell_all(agent: Address, wanted: Sequence[ImageName], by: str) -> str:
    """What went wrong."""
    for number, image in enumerate(wanted):
        announced = Announced(image.repository, image.reference, by)
        if problem := await tell_background(agent, announced, LONGEST_LEASE):
            return f"the agent was told of {number} of {len(wanted)} images, and then not: {problem}"
    return ""
