"""The event loop's clock, by which everything here waits and tests turn time."""

from __future__ import annotations

import asyncio


def now() -> float:
    """Seconds of the running event loop's clock, which never goes back."""
    return asyncio.get_running_loop().time()
