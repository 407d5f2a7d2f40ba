"""Wrong input to gRPC methods, whoever asks."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from e2e.mutilation import mutilated

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from e2e.mutilation import Record

_ALARMING: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
# gRPC's own words for bytes that are no message of the method.
_NO_MESSAGE: Final = "deserializing"


async def mutilated_calls(  # noqa: PLR0913 - all different
    channel: grpc.aio.Channel,
    who: str,
    *,
    methods: Sequence[str],
    messages: Sequence[bytes],
    count: int,
    at_once: int,
    seconds: float,
    chance: random.Random,
    record: Record,
) -> None:
    """Make calls of these methods with two of these messages, mutilated; `who` makes them, in the record."""
    calls: dict[str, Any] = {method: channel.unary_unary(method) for method in methods}
    for _ in range(0, count, at_once):
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                method = chance.choice(methods)
                given = mutilated(chance.choice(messages) + chance.choice(messages), chance)
                record.tried[f"{who}: {method.rpartition('/')[2]}"] += 1
                group.create_task(_call(partial(calls[method], timeout=seconds), f"{who}: {method}", given, record))


async def _call(call: Callable[[bytes], Any], name: str, given: bytes, record: Record) -> None:
    try:
        await call(given)
    except grpc.aio.AioRpcError as error:
        details = error.details() or ""
        if error.code() in _ALARMING and _NO_MESSAGE not in details:
            record.fault(f"{name} said {error.code().name} {details!r}", given)
