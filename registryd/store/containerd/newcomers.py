"""New content of containerd, for the account of it (`registryd.content.elsewhere`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.content.elsewhere import Whence
    from registryd.content.inventory import Stock
    from registryd.oci.digest import Digest
    from registryd.store.containerd.holdings import Holdings
    from registryd.store.containerd.presence import Presence


class ContainerdNewcomers:
    """New content of containerd, by a look of its own at the folders: each look is told of a change once."""

    def __init__(self, holdings: Holdings, presence: Presence) -> None:
        self._holdings = holdings
        self._presence = presence

    async def stock(self) -> Stock:
        return await self._holdings.stock()

    async def wait_changed(self) -> None:
        await self._holdings.wait_changed()

    async def whence(self, digest: Digest) -> Whence:
        return await self._presence.whence(digest)
