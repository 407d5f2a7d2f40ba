"""Wrong input where members use mTLS: calls and requests of a member, and handshakes of anybody."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from e2e.fuzz_calls import mutilated_calls
from e2e.mutilation import mutilated
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import Sequence

    from e2e.mutilation import Record
    from lab.lone_agent import LoneAgent
    from registryd.notation import Address

_BATCH: Final = 16
_ANSWER_SECONDS: Final = 30.0
# A record of a handshake with the beginning of a ClientHello (RFC 8446), and an HTTP/2 preface without TLS.
_HELLOS: Final[Sequence[bytes]] = (
    b"\x16\x03\x01\x00\x7b\x01\x00\x00\x77\x03\x03" + bytes(range(32)) + b"\x00\x00\x02\x13\x01\x01\x00\x00\x4c"
    b"\x00\x2b\x00\x03\x02\x03\x04\x00\x0d\x00\x04\x00\x02\x04\x03\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x33\x00\x26"
    b"\x00\x24\x00\x1d\x00\x20" + bytes(range(32)),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET /v1/blobs/sha256:00 HTTP/1.1\r\nHost: peer\r\n\r\n",
)


def credentials_of(agent: LoneAgent) -> MemberCredentials:
    """As a member has them that knows the agent's secret."""
    return MemberCredentials(MintedMaterial(agent.secret_file, node="fuzz", clock=lambda: datetime.now(UTC)))


async def try_calls(  # noqa: PLR0913 - all different
    agent: LoneAgent,
    *,
    methods: Sequence[str],
    messages: Sequence[bytes],
    count: int,
    chance: random.Random,
    record: Record,
) -> None:
    """Mutilated messages to these methods, as a member."""
    async with credentials_of(agent).open_channel(str(agent.peers)) as channel:
        await mutilated_calls(
            channel,
            "a member's call",
            methods=methods,
            messages=messages,
            count=count,
            at_once=_BATCH,
            seconds=_ANSWER_SECONDS,
            chance=chance,
            record=record,
        )


async def try_handshakes(
    agent: LoneAgent, requests: Sequence[bytes], count: int, chance: random.Random, record: Record
) -> None:
    """Mutilated requests for bytes behind a sound handshake, and mutilated beginnings of handshakes at both doors."""
    context = credentials_of(agent).client_context()
    for _ in range(0, count, _BATCH):
        async with asyncio.TaskGroup() as group:
            for _ in range(_BATCH):
                if chance.random() < 0.5:
                    given = mutilated(chance.choice(requests), chance) + b"Connection: close\r\n\r\n"
                    door, tls, name = agent.content, context, "a member's request for bytes"
                else:
                    given = mutilated(chance.choice(_HELLOS), chance)
                    door, tls, name = chance.choice((agent.content, agent.peers)), None, "a handshake"
                record.tried[name] += 1
                group.create_task(_ask(name, door, tls, given, record))


async def _ask(name: str, door: Address, context: ssl.SSLContext | None, given: bytes, record: Record) -> None:
    line = b""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # An address that makes many connections, or unfinished handshakes, is made to wait and refused.
            with suppress(OSError, ValueError):
                line = await _exchange(door, context, given)
    except TimeoutError:
        record.fault(f"{name}: no answer and no end", given)
    if line.split(b" ")[1:2] and line.split(b" ")[1].startswith(b"5"):
        record.fault(f"{name}: {line.decode(errors='replace').strip()}", given)


async def _exchange(door: Address, context: ssl.SSLContext | None, given: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(door.host, door.port, ssl=context, server_hostname=_name(context))
    try:
        writer.write(given)
        if context is None:
            writer.write_eof()
        return await reader.readline()
    finally:
        writer.close()


def _name(context: ssl.SSLContext | None) -> str | None:
    return "member" if context else None
