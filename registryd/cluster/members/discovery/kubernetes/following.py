"""List, then watch from there, for ever: the slices as the API server last told them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.cluster.members.discovery.kubernetes.answers import Bookmark, Deleted, Stored
from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, VersionExpired

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.aio.backoff import Backoff
    from registryd.cluster.members.discovery.kubernetes.answers import Event
    from registryd.cluster.members.discovery.kubernetes.api import SliceApi
    from registryd.cluster.members.discovery.kubernetes.slices import EndpointSlice
    from registryd.cluster.members.discovery.trouble import DiscoveryTrouble


class SliceFollower:
    """The state of EndpointSlices, kept by a list and a watch: client-go's name for this is reflector.

    The follower resumes a broken watch where it was. It replaces a watch that cannot be resumed by a new list. While
    the server is away, the state stays as it was.
    """

    def __init__(self, api: SliceApi, *, backoff: Backoff, trouble: DiscoveryTrouble) -> None:
        self._api = api
        self._backoff = backoff
        self._trouble = trouble
        self._slices: dict[str, EndpointSlice] = {}
        self._version = ""
        """Up to where all is known; empty: a list is needed."""
        self._wants_fresh = False
        self._failures = 0
        self._began = 0.0

    async def changes(self) -> AsyncGenerator[tuple[EndpointSlice, ...], None]:
        """Yield all slices after each list and after each change. Never ends; close it."""
        while True:
            self._began = clock.now()
            try:
                if not self._version:
                    await self._list()
                    yield tuple(self._slices.values())
                async with aclosing(self._watch()) as changes:
                    async for _ in changes:
                        yield tuple(self._slices.values())
            except VersionExpired:
                # Not from a cache this time: it may be as old as what has just expired (as client-go does it).
                self._version, self._wants_fresh = "", True
                # And not at once: thousands of agents have lost their watch in the same moment.
                await self._pause()
            except ApiFailed as error:
                self._trouble.begins(str(error))
                await self._pause(at_least=error.retry_after)

    async def _list(self) -> None:
        """Replace everything by a whole list; raises without having changed anything."""
        page = await self._api.list_page(fresh=self._wants_fresh)
        found = {each.name: each for each in page.slices}
        while page.following:
            page = await self._api.list_page(following=page.following)
            found |= {each.name: each for each in page.slices}
        self._slices, self._version, self._wants_fresh = found, page.version, False
        self._trouble.is_over()

    async def _watch(self) -> AsyncGenerator[None, None]:
        """Apply what the watch tells; yield after each event that changed something."""
        heard = False
        async with aclosing(self._api.watch(self._version)) as events:
            async for event in events:
                heard = True
                self._failures = 0
                self._trouble.is_over()
                if self._apply(event):
                    yield
        if not heard and not self._has_lasted():
            # A server ends a watch after minutes. A watch that ends at once, again and again, must not become a busy
            # loop.
            raise ApiFailed("a watch ended without a word")

    def _apply(self, event: Event) -> bool:
        """Whether that changed anything."""
        self._version = event.version
        match event:
            case Bookmark():
                return False
            case Deleted(name=name):
                return self._slices.pop(name, None) is not None
            case Stored(slice=new):
                old = self._slices.get(new.name)
                self._slices[new.name] = new
                return new != old

    async def _pause(self, *, at_least: float = 0.0) -> None:
        self._failures = 1 if self._has_lasted() else self._failures + 1
        await asyncio.sleep(max(self._backoff.delay(self._failures), min(at_least, self._backoff.longest)))

    def _has_lasted(self) -> bool:
        """Whether this attempt lasted longer than any pause: then it counts as a success."""
        return clock.now() - self._began >= self._backoff.longest
