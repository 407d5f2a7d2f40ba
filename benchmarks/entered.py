"""The lab's asynchronous contexts, for benchmarks that are not: one that measures shares its loop with nobody."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


@contextmanager
def entered(context: AbstractAsyncContextManager[T]) -> Iterator[tuple[T, asyncio.Runner]]:
    """What the context gives, and the runner of its loop for whatever else it has to be asked."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(stack.enter_async_context(context)), runner
        finally:
            runner.run(stack.aclose())
