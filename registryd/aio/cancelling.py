"""A block that somebody else may end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class CancelScope:
    """Cancels what is done within its block when it is told to, and only that; for one block, as trio has it."""

    def __init__(self) -> None:
        self.cancelled_caught = False
        """Whether the block was ended by `cancel`."""
        self._timeout = asyncio.timeout(None)
        self._may_cancel = False

    def cancel(self) -> bool:
        """End the block, a moment later; whether it is under way, and nobody has told it to end before."""
        if not self._may_cancel:
            return False
        self._may_cancel = False
        self._timeout.reschedule(asyncio.get_running_loop().time())
        return True

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._may_cancel = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._may_cancel = False
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:  # by `cancel`: one that the block raises is not raised again here
            self.cancelled_caught = True
        return self.cancelled_caught
