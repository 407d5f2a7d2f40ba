"""What a member can ask by gRPC: each attack goes on until it is cancelled."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from registryd.oci.digest import Digest
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.pb.registryd.v1 import diagnosis_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from google.protobuf.message import Message

    from e2e.adversary.wire import Target

CLUSTER: Final = "/registryd.v1.Cluster/"
_DIAGNOSIS: Final = "/registryd.v1.Diagnosis/"
_CHUNK: Final = 1 << 20
_CONNECTIONS: Final = 10
_AT_ONCE: Final = 100
_ANNOUNCED: Final = 400
_TIMEOUT: Final = 10.0


@asynccontextmanager
async def _channels(target: Target, count: int = _CONNECTIONS) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Connections of their own."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 2 * _CHUNK))
    credentials = target.credentials()
    channels = [credentials.open_channel(f"{target.host}:{target.peers_port}", options) for _ in range(count)]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


async def _flood(target: Target, method: str, message: Callable[[int], Message], *, at_once: int = _AT_ONCE) -> None:
    """As many calls as come through, each with a message of its own."""
    numbers = itertools.count()

    async def go_on(ask: Any) -> None:
        while True:
            with suppress(grpc.aio.AioRpcError):
                await ask(message(next(numbers)).SerializeToString(), timeout=_TIMEOUT)

    async with _channels(target) as channels, asyncio.TaskGroup() as group:
        for number in range(at_once):
            group.create_task(go_on(channels[number % len(channels)].unary_unary(method)))


def _made_up(number: int) -> Digest:
    return Digest.of(b"%d of %d" % (number, os.getpid()))


def _raw(first: int, count: int) -> list[bytes]:
    return [bytes.fromhex(_made_up(number).encoded) for number in range(first, first + count)]


# What keeps an agent busy


async def hello(target: Target) -> None:
    """The cheapest call there is."""
    await _flood(target, f"{CLUSTER}Hello", lambda _: pb.HelloRequest())


async def finds(target: Target) -> None:
    """What it has, and what nobody has, in turn."""
    await _flood(
        target,
        f"{CLUSTER}Find",
        lambda number: pb.FindRequest(
            digest=str(target.digest if number % 2 else _made_up(number)), repository=target.repository
        ),
    )


async def waits(target: Target) -> None:
    """Finds that would rather wait."""
    await _flood(
        target,
        f"{CLUSTER}Find",
        lambda number: pb.FindRequest(digest=str(_made_up(number)), wait_milliseconds=60_000, beyond=1 << 40),
        at_once=5 * _AT_ONCE,
    )


async def questions(target: Target) -> None:
    """Resolve, of names that each are new."""
    await _flood(target, f"{CLUSTER}Resolve", lambda number: pb.ResolveRequest(name=f"origin.lab/a/b{number}:v1"))


async def doubts(target: Target) -> None:
    """That its copy is wrong: it has to look at it."""
    await _flood(target, f"{CLUSTER}Doubt", lambda _: pb.DoubtRequest(digest=str(target.digest)))


async def reach(target: Target) -> None:
    """Have it try ports of another member."""
    await _flood(
        target,
        f"{_DIAGNOSIS}Reach",
        lambda number: diagnosis_pb2.ReachRequest(
            requester=pb.Place(host=target.innocent, port=1 + number % 65535), content_port=1 + number % 65535
        ),
    )


async def unknown(target: Target) -> None:
    """Methods that there are not."""
    await _flood(target, f"{CLUSTER}Nothing", lambda _: pb.HelloRequest())


async def reports(target: Target) -> None:
    """How it is, again and again."""
    await _flood(target, f"{_DIAGNOSIS}Report", lambda _: diagnosis_pb2.ReportRequest())


# What is to be remembered


async def holders(target: Target) -> None:
    """Made-up content at made-up places of the adversary's own host."""
    await _flood(
        target,
        f"{CLUSTER}Announce",
        lambda number: pb.AnnounceRequest(
            holder=pb.Place(host=target.own, port=1 + number % 65535), held=_raw(number * _ANNOUNCED, _ANNOUNCED)
        ),
    )


async def zones(target: Target) -> None:
    """Claims of one digest from zones that each are new."""
    await _flood(
        target,
        f"{CLUSTER}Claim",
        lambda number: pb.ClaimRequest(
            digest=str(target.digest),
            claimant=pb.Place(host=target.own, port=1 + number % 65535, zone=f"zone-{number}"),
        ),
    )


async def claims(target: Target) -> None:
    """Of digests that each are new: "I am the one who fetches it"."""
    await _flood(
        target,
        f"{CLUSTER}Claim",
        lambda number: pb.ClaimRequest(
            digest=str(_made_up(number)), claimant=pb.Place(host=target.own, port=3173), size=1 << 30, places=8
        ),
    )


async def arrivals(target: Target) -> None:
    """What is said to be arriving, in processes that each are new."""
    await _flood(
        target,
        f"{CLUSTER}Announce",
        lambda number: pb.AnnounceRequest(
            holder=pb.Place(host=target.own, port=3173),
            arriving=_raw(number * _ANNOUNCED, _ANNOUNCED),
            process=f"p{number}",
        ),
    )


async def names(target: Target) -> None:
    """Made-up meanings of made-up names."""

    def naming(number: int) -> pb.Naming:
        meaning = pb.NamedContent(digest=str(_made_up(number)), size=1000, media_type="a/b", seen_at=number)
        return pb.Naming(name=f"origin.lab/a/b{number}:v1", meaning=meaning, key=os.urandom(16))

    await _flood(
        target,
        f"{CLUSTER}AnnounceNames",
        lambda number: pb.AnnounceNamesRequest(port=3173, held=[naming(40 * number + each) for each in range(40)]),
    )


async def for_others(target: Target) -> None:
    """That another member and the agent itself have nothing, and that this is all."""
    hosts = itertools.cycle((target.innocent, target.host))
    await _flood(
        target,
        f"{CLUSTER}Announce",
        lambda _: pb.AnnounceRequest(
            holder=pb.Place(host=next(hosts), port=3173),
            dropped=[bytes.fromhex(target.digest.encoded)],
            is_all=True,
            process="another",
        ),
    )


# What is not taken


async def unread_reads(target: Target) -> None:
    """A thousand Reads of 1 MiB, none of which is read."""

    async def begin(channel: grpc.aio.Channel) -> None:
        request = pb.ReadRequest(digest=str(target.digest), length=_CHUNK, repository=target.repository)
        read: Any = channel.unary_stream(f"{CLUSTER}Read")
        while True:
            call: Any = read(request.SerializeToString())
            with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                await call.wait_for_connection()
                await asyncio.wait((asyncio.ensure_future(call.code()),))

    async with _channels(target) as channels, asyncio.TaskGroup() as group:
        for number in range(1000):
            group.create_task(begin(channels[number % len(channels)]))
