"""Following a store: what is new in it is accounted for, in whatever way more of it can be seen."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from registryd.aio.file_events import Waiter
from registryd.aio.scope import open_scope
from registryd.content.elsewhere import Elsewhere, Whence
from registryd.content.inventory import Stock
from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.observability.metrics import Source
from registryd.oci.digest import Digest
from tests.content.test_ledger import Account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLD, NEW, HIDDEN = (Digest.of(text) for text in (b"old", b"new", b"hidden"))


class Store:
    """Has what the test says."""

    def __init__(self) -> None:
        self.content: dict[Digest, Whence] = {}
        self.seen: set[Digest] = set()
        self.is_away = False
        self._told = Waiter()

    def add(self, digest: Digest, *, age: float = 0.0) -> None:
        self.content[digest] = Whence(10, time.time() - age, "docker.io")
        self.see(digest)

    def see(self, digest: Digest) -> None:
        self.seen.add(digest)
        self._told.tell()

    async def stock(self) -> Stock:
        if self.is_away:
            raise StoreUnavailable("away")
        return Stock(frozenset(self.seen), is_complete=True)

    async def wait_changed(self) -> None:
        await self._told.wait()

    async def whence(self, digest: Digest) -> Whence:
        if digest not in self.content:
            raise ContentNotFound("nobody's business")
        return self.content[digest]


@asynccontextmanager
async def followed(store: Store) -> AsyncIterator[Account]:
    account = Account()
    async with open_scope() as scope:
        scope.serve(Elsewhere(store, account.ledger).run, name="account")
        await asyncio.sleep(0.05)
        yield account


async def settled(account: Account, count: float) -> None:
    async with asyncio.timeout(10):
        while account.total("elsewhere") != count:  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert account.total("elsewhere") == count


async def test_what_comes_is_counted_and_what_was_there_is_not() -> None:
    store = Store()
    store.add(OLD)
    async with followed(store) as account:
        store.add(NEW)
        await settled(account, 10)


async def test_what_turns_out_to_have_been_there_is_not_new() -> None:
    store = Store()
    async with followed(store) as account:
        store.add(OLD, age=60)
        store.add(NEW)
        await settled(account, 10)


async def test_what_is_in_no_shared_namespace_is_nobodys_business() -> None:
    store = Store()
    async with followed(store) as account:
        store.see(HIDDEN)
        store.add(NEW)
        await settled(account, 10)


async def test_what_is_seen_before_the_store_has_a_record_of_it_is_counted_once_it_has() -> None:
    store = Store()
    async with followed(store) as account:
        store.see(NEW)
        await asyncio.sleep(0.6)  # longer than a batch: the agent has asked about it in vain
        store.content[NEW] = Whence(10, time.time(), "docker.io")  # nothing tells of that
        await settled(account, 10)


async def test_what_came_by_the_agent_is_not_from_elsewhere_because_its_record_came_late() -> None:
    store = Store()
    async with followed(store) as account:
        account.ledger.handed_over(NEW, 7, registry="docker.io", source=Source.PEER)
        store.see(NEW)
        await asyncio.sleep(0.6)
        store.content[NEW] = Whence(10, time.time(), "docker.io")
        await settled(account, 3)


async def test_a_store_that_was_away_is_looked_at_again() -> None:
    store = Store()
    async with followed(store) as account:
        store.is_away = True
        store.add(NEW)
        await asyncio.sleep(0.5)
        store.is_away = False
        await settled(account, 10)
