"""Breaking off a body whose source is alive, because there is a better one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.aio.scope import alongside
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink


async def send_until(leave: Coroutine[Any, Any, str], body: Body, sink: Sink) -> None:
    """Send the body; raises SourceBroken for the reason that `leave` returns before, and what it raises."""
    limit = asyncio.timeout(None)
    reason = ""

    async def watch() -> None:
        nonlocal reason
        reason = await leave
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit, alongside(watch(), name="watch a source"):
            await body.send_to(sink)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SourceBroken(reason) from error
    finally:
        leave.close()  # a body that is sent at once ends before anybody has begun to watch it
