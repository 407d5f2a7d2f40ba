"""What this node has of content that a peer wants: told at once, or when more of it has come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from registryd.cluster.contract.no_forwarding import AnsweringPeer
from registryd.cluster.rpc.limits import MAX_WAIT_SECONDS, MAX_WAITS, STORE_TIMEOUT
from registryd.content.blocked import ContentBlocked
from registryd.content.growing import stripe_of
from registryd.content.source import ContentNotFound, EntitledSource, NameSource, NotForName, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from registryd.content.growing import GrowingSource
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content
    from registryd.oci.digest import Digest

T = TypeVar("T")


class LocalStore(EntitledSource, NameSource, Protocol):
    """This node's own store (`registryd.content.entitled.EntitledStore`).

    A store that asks other nodes fails (see `registryd.cluster.contract.no_forwarding`).
    """

    async def entitled(self, sought: Sought, content: Content, provenance: Provenance | None = None) -> Content:
        """Content that is here, with its standing; of `provenance` if that is known besides. Raises NotForName."""


class Expected(Protocol):
    """The content that this node's containerd is going to fetch (`registryd.cluster.fetch.pulls.Pulls`)."""

    @property
    def arrivals(self) -> int:
        """How often something has begun or ended to arrive."""

    def provenance(self, digest: Digest) -> Provenance:
        """For which names."""

    async def expects(self, digest: Digest) -> Content | None:
        """The content if nothing of it has come, and it will be fetched."""

    async def wait_arrivals(self, seen: int) -> None:
        """Return when that is more than `seen`."""


class LocalFinder:
    """Looks for content in this node's store. All doors for peers have the same one, which bounds how many wait."""

    def __init__(
        self, store: LocalStore, *, growing: GrowingSource | None = None, expected: Expected | None = None
    ) -> None:
        """`growing` is what peers may wait for; without it they are answered at once.

        `expected` is what this node's containerd is going to fetch.
        """
        self._store = store
        self._growing = growing
        self._expected = expected
        self._waits = 0

    async def find(self, sought: Sought, *, beyond: int = 0, seconds: float = 0.0) -> Content | None:
        """The content, None if it is not here; what is arriving when it has more than `beyond` bytes, or after so long.

        Raises NotForName, StoreUnavailable.
        """
        content = await self._content(sought)
        if seconds and content and content.is_growing and content.available <= beyond:
            return await self._wait_grown(sought, beyond, min(MAX_WAIT_SECONDS, seconds))
        return content

    async def _wait_grown(self, sought: Sought, beyond: int, seconds: float) -> Content | None:
        """The content when it has grown, or as it is after so many seconds."""
        if self._growing is not None and self._waits < MAX_WAITS:
            self._waits += 1
            try:
                async with asyncio.timeout(seconds):
                    grown = await self._grown(self._growing, sought, beyond)
                    # The content may be arriving for another name by now.
                    return await self._store.entitled(sought, grown)
            except (TimeoutError, ContentNotFound):
                pass  # it may be whole by now
            finally:
                self._waits -= 1
        return await self._content(sought)

    async def _grown(self, growing: GrowingSource, sought: Sought, beyond: int) -> Content:
        """The content when it has grown; waits until it begins to arrive, if that is expected."""
        while True:
            seen = self._expected.arrivals if self._expected else 0
            try:
                if sought.stripe is not None:
                    return await growing.growing_stripe(sought.digest, sought.stripe, beyond=beyond)
                return await growing.wait_grown(sought.digest, beyond=beyond)
            except ContentNotFound:
                if self._expected is None or await self._expected.expects(sought.digest) is None:
                    raise
            await self._expected.wait_arrivals(seen)

    async def _content(self, sought: Sought) -> Content | None:
        return await of_store(self._content_or_expected(sought))

    async def _content_or_expected(self, sought: Sought) -> Content | None:
        try:
            return await self._store.find(sought)
        except ContentBlocked:
            return None
        except ContentNotFound as reason:
            content = None if self._expected is None else await self._expected.expects(sought.digest)
            if content is not None and self._expected is not None:
                content = await self._store.entitled(sought, content, self._expected.provenance(sought.digest))
                return content if sought.stripe is None else stripe_of(content, sought.stripe, 0)
            if isinstance(reason, NotForName):
                raise
            return None


async def of_store(answer: Awaitable[T]) -> T:
    """The store's answer, within a time limit. Raises StoreUnavailable."""
    try:
        with AnsweringPeer():
            async with asyncio.timeout(STORE_TIMEOUT):
                return await answer
    except TimeoutError as error:
        raise StoreUnavailable(f"the store did not answer within {STORE_TIMEOUT:g} s") from error
