"""Asking a name's index nodes what it means; `registryd.cluster.index.names` is what they answer from."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.racing import AllFailed, arrivals, at_once
from registryd.cluster.contract.names import NameAnswer
from registryd.cluster.index.naming import name_point
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.aio.racing import Attempt
    from registryd.cluster.index.names import NameIndexState
    from registryd.cluster.index_client.index_nodes import IndexNodes, Roster
    from registryd.oci.reference import TaggedName

# How much longer to wait for the others when an index node that knows all has answered: the others were told the same,
# unless one of them could not be reached then. A healthy peer takes milliseconds, with a new connection some tens.
_PATIENCE: Final = 0.25


class NameIndex:
    """The names' index nodes, of which this node may be one."""

    def __init__(self, index: IndexNodes, roster: Roster, desk: NameIndexState, *, above: int) -> None:
        """Only when there are more than `above` members, they are told of names."""
        self._index = index
        self._roster = roster
        self._desk = desk
        self._above = above

    @property
    def is_told(self) -> bool:
        return len(self._roster.addresses()) > self._above

    async def ask(self, name: TaggedName) -> NameAnswer:
        """Ask all index nodes at once: together they know what one may have missed. A silent one is left out."""
        answers: list[NameAnswer] = []
        with suppress(TimeoutError, AllFailed):
            asking = arrivals(at_once(self._questions(name)), expected=ContentUnavailable)
            async with aclosing(asking), asyncio.timeout(None) as patience:
                async for answer in asking:
                    answers.append(answer)
                    if answer.is_settled and patience.when() is None:
                        patience.reschedule(asyncio.get_running_loop().time() + _PATIENCE)
        known = tuple(named for answer in answers for named in answer.known)
        return NameAnswer(known, is_settled=any(answer.is_settled for answer in answers))

    def _questions(self, name: TaggedName) -> Iterator[Attempt[NameAnswer]]:
        own = self._index.own_place().address
        for address in self._index.of(name_point(name)):
            if address == own:
                yield partial(self._answer, name)
            elif (member := self._roster.get(address)) is not None:
                yield partial(member.resolve, name)

    async def _answer(self, name: TaggedName) -> NameAnswer:
        return self._desk.answer(name)
